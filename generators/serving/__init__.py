"""vLLM servers that a run starts, supervises and stops."""
