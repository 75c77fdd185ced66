"""TensorRT: model.onnx -> engine, with the compiled plugin or without."""
