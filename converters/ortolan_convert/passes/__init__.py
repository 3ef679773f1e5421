"""One file per pass that makes a variant."""
