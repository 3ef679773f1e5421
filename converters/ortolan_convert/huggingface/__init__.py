"""Transformers over texts: their task, what their variants are judged by, and their bundle."""
