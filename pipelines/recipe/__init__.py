"""Recipes: schema, YAML reader and checks."""
