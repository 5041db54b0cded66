"""Replies of the model that is trained: prompts, sampling, and the rounds that an objective learns from."""
