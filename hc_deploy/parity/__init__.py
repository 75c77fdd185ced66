"""Deployed against trained: images to try, two sessions on them, what may differ, and the verdict. No torch."""
