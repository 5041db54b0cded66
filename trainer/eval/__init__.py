"""Evaluation: held-out loss, choices, replies and checkable tasks."""
