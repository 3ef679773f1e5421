"""A network's ONNX file made sound: what it needs, which versions it is of, what it declares, how large it is."""
