"""Rewards of replies: verifiers in a process of their own, reward models, judges behind an address."""
