"""Draw reports and comparisons from a store, and export what it contains."""
