"""A street that draws itself: driver's-eye frames with exact labels in the 19 Cityscapes classes.

A seed, a size and a time enter; an RGB picture and its label map leave. numpy and OpenCV only.
"""
