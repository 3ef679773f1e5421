"""What TensorFlow's sources share: graphs, what may run in them, and their way to ONNX."""
