"""Stored tensors: what kind each one is, and how its bytes become an array."""
