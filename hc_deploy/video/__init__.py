"""Frames through a session: sources, stages, overlays, sinks."""
