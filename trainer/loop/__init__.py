"""The training loop: stages, optimiser, checkpoints and the train step of a plan."""
