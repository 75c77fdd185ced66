"""Deployment toolkit for dense-prediction networks with hierarchical clustering: checkpoint, ONNX, engine, video."""

__version__ = "0.1.0"
