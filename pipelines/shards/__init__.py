"""Row-aligned Parquet files of documents, decisions and measured values, read and written in bounded batches."""
