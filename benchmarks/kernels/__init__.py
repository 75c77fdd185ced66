"""Every CUDA kernel checked against float64 and timed against the copy bandwidth: `python -m benchmarks.kernels`."""
