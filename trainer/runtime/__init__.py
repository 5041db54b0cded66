"""Torch's global state: device, threads, determinism and logging."""
