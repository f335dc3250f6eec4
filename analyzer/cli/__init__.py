"""The command line ``weightlapse``: one file per command. Nothing but :mod:`analyzer.workflow` does the work."""

from analyzer.cli.command_line import command, main

__all__ = ["command", "main"]
