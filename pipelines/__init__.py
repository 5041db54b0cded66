"""Corpora: sources, rules, dedup, mixes and tokens; and the engine that runs recipes."""
