"""The paper's networks in torch with our kernels, side by side on one GPU: `python -m benchmarks.networks -o DIR`."""
