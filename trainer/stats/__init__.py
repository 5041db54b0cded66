"""Statistics: paired effects, intervals, interim analyses, mixing laws and proposals."""
