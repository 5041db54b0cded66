"""Constraints on replies that code can check, such as a number of words or a format."""
