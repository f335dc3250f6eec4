"""Stored tensors: the kind of each, and how its bytes become an array."""
