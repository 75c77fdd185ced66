"""Every flavour on a GPU, side by side, against the targets: `python -m benchmarks.gpu -o DIR`."""
