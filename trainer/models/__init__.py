"""Model shapes, one a file: recipe word -> transformers model."""
