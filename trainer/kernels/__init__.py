"""Numba kernels of the trainer, imported inside functions; float32, one thread, the same order of sums every time."""
