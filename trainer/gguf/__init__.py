"""GGUF files, as llama.cpp and what builds on it read them."""
