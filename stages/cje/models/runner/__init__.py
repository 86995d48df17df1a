"""The calls: kept, bounded in money and rate, batched, and asked again where they failed."""
