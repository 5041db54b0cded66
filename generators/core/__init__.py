"""What all generators share: prompts, sessions, rows with lineage, and the generate step."""
