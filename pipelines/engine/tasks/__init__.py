"""Tasks: one shard of one step, run in a process of its own here or on another machine."""
