"""Reads what existing neurons, which speak Synapse over HTTP, keep on disk. Never writes there."""
