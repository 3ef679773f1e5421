"""TensorFlow Lite models: their file, and their operators as ONNX."""
