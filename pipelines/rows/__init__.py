"""Rows of conversations and preferences: read from files, seen as texts, decided on as documents are."""
