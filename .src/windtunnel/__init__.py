"""Windtunnel: a wind tunnel for training data."""

__version__ = "0.2.0"
