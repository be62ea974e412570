"""Existing neurons, which speak Synapse over HTTP: what they keep on disk, and real ones for tests and the demo."""
