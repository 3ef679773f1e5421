"""Tests against the large training frameworks, in an environment of their own: see tests/models/run."""
