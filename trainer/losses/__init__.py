"""Losses: cross-entropy, target log-probabilities and preference losses."""
