"""Deduplication methods, one a file."""
