"""Functional forms of mixing laws, one per file."""
