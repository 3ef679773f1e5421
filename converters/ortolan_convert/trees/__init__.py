"""Ensembles of trees as arrays, and the graphs they become."""
