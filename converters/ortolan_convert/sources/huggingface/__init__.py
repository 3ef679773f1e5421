"""Directories of Hugging Face models and of sentence-transformers."""
