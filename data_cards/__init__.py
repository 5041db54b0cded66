"""Data cards in the Hugging Face Hub's format."""
