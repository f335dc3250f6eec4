"""The one error that the trainer raises; each message names the path, the cause and the remedy."""


class TrainerError(Exception):
    """Something that the user can put right; the command line turns it into exit code 1."""
