"""What a graph costs, worked out from its operators and shapes without running it."""
