"""Bring a store up to date with a run: plan what is missing, walk each tensor through time, derive totals and means."""
