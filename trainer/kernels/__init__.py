"""Numba kernels of the trainer: float32, single-threaded, with a fixed order of summation."""
