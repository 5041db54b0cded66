"""Measuring: what rules are, and how everything they decide from is measured once."""
