"""Judging: ratings, pairs, win rates and the calibration of judges."""
