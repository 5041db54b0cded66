"""Rule sets, one a file: thresholds over measured columns."""
