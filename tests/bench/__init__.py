"""Tests of hc_deploy.bench and of `bench.py`."""
