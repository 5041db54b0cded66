"""Judges of answer pairs, one a file."""
