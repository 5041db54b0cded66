"""Corpora: sources, rules, dedup, mixes and tokens; and the conductor that runs recipes."""
