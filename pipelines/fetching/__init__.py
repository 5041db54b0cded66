"""Sample texts and models out of packages: fetched, checked, read in place."""
