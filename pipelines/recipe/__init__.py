"""The recipe: its schema, the YAML reader, the checks, and the recipes that ship with the package."""
