"""Delta-tuning methods, one a file."""
