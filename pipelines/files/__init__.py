"""The filter and dedup commands on a user's own files, without a recipe."""
