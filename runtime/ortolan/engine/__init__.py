"""Everything that touches onnxruntime; no other package imports it."""
