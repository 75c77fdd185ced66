"""Measuring sessions side by side and comparing the reports."""
