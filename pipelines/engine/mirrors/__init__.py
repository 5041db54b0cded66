"""Stores in object storage: a local mirror to work in, uploads of finished artifacts, and a lock."""
