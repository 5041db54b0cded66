"""Text in: files of any kind, compressed, broken or lying, into bounded batches of documents."""
