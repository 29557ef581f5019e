"""The command line `engage`: commands, what they print, and how they end."""

import sys

try:
    from flows.cli.commands import app
    from flows.cli.entry import command, main
except KeyboardInterrupt:  # while importing, before anything is there that could answer it
    print("interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "command", "main"]
