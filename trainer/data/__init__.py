"""Training data: the sampler, chat templates, encoded rows and packing."""
