"""Sections of the report, one a pair of files: `NAME.py` collects, `NAME.html` shows."""
