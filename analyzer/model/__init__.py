"""Plain data that the other packages exchange, and what names in it mean. Imports nothing else of weightlapse."""
