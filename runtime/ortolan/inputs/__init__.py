"""Raw input to tensors."""
