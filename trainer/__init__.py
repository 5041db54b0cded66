"""Pretrains and aligns small models, evaluates them and measures effects."""
