"""Plans: a recipe as a list of steps with their inputs and keys; nothing is read or run."""
