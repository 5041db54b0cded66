"""Optimizers, one a file: recipe word -> optimizers of torch."""
