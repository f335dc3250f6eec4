"""The layouts, one per module; every module in this package is registered."""
