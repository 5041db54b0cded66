"""The engine: steps as shard tasks, a store that survives kill -9, and executors here and on clusters."""
