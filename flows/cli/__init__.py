"""The command line `engage`: commands, what they print, and how they end."""

from flows.cli.commands import app, command, main

__all__ = ["app", "command", "main"]
