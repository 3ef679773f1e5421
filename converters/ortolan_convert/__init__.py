"""Training artifacts to bundles."""
