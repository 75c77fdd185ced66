"""Checkpoint -> module -> model.onnx."""
