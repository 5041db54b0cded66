"""Data cards in the hub's format."""
