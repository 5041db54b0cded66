"""Sample texts, one set a file: each file holds one SampleSet class, and its file name is its name in recipes."""
