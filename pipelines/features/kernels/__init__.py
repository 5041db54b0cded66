"""Numba kernels over the UTF-8 bytes of a text column; imported inside functions only, compiled once and cached."""
