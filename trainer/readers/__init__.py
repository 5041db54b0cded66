"""Readers of per-item scores that other tools have written, one tool a file."""
