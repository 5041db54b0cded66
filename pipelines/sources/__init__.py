"""Readers, one a file: recipe word -> documents."""
