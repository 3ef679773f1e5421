"""Choosing among candidates: measured where possible, predicted otherwise."""
