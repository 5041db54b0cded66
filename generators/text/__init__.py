"""Text processing of generators: instructions, dialogues, novelty and diversity."""
