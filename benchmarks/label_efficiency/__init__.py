"""What `benchmarks/labels.py` is made of: sets, redraws, peers, measures, tables."""
