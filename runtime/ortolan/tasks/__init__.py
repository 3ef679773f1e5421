"""One file per kind of answer."""
