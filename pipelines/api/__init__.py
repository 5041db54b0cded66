"""The public Python API: what `import windtunnel` exports, one file a group of functions."""
