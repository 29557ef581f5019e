"""`python -m flows.cli` is the command `engage`."""

from flows.cli.commands import command

command()
