"""model.onnx as a graph: the custom ops' text and bodies, its file, and the passes over it. onnx, no torch."""
