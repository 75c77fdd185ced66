"""The arrows of the picture (CONTRIBUTING.md), one function each: artifact in, artifact out. Nothing prints."""
