"""PyTorch: exported programs, TorchScript, weights with the module they belong to, and modules in memory."""
