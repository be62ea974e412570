"""Existing neurons, which speak Synapse over HTTP: real ones of bittensor 9 and 10, for tests and the demo."""
