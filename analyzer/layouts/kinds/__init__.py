"""One file per layout; each is found by being here."""
