"""What every export shares: the folder, and networks as ONNX graphs."""
