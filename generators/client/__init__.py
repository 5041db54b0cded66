"""Client of OpenAI-compatible servers: concurrency, retries, and a store of every completion."""
