"""Sources, stages, overlays, sinks and the two commands that chain them."""
