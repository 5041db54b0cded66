"""Duplicates: keys, sort-and-join, clusters, spans; what the methods in `dedup/` are made of."""
