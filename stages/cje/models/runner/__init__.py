"""The calls: kept, bounded in money and pace, batched, and asked again where they failed."""
