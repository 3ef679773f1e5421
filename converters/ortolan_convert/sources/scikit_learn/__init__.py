"""scikit-learn: reading its artifacts, and its estimators as ONNX graphs."""
