"""The only error that the trainer raises; each message names the path, the cause and the remedy."""


class TrainerError(Exception):
    """A problem that the user can fix; the command line turns it into exit code 1."""
