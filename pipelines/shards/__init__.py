"""Row-aligned shards: documents, decisions and measurements, read side by side in batches."""
