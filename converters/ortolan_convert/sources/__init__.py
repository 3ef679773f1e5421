"""One file per source of models."""
