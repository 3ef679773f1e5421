"""Models over texts: bags of words and what follows them, their variants and their bundle."""
