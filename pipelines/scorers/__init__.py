"""Model-based scorers of documents: fastText classifiers, KenLM and causal language models."""
