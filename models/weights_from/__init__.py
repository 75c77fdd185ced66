"""Other people's weights in our names: `translate`, and `python -m models.weights_from FILE -o CHECKPOINT`."""
