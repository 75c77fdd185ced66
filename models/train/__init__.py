"""Training: `python -m models.train NAME -o CHECKPOINT`."""
