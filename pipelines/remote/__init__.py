"""Files that lie where fsspec reaches: addresses and reading."""
