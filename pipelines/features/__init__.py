"""Features: everything that filters decide from, measured once per document."""
