"""Reading, checking and writing bundles."""
