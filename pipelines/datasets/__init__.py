"""Datasets: corpora, held-out set, decontamination, mixes, tokenizer and token shards."""
