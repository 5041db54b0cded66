"""Synthetic instruction and preference data: client, server, judge and kinds."""
