"""Forms of a mixing law, one a file."""
