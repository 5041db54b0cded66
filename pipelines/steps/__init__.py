"""The work of every step of a plan: artifacts in, an artifact out."""
