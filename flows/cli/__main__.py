"""`python -m flows.cli` is the command `engage`."""

from flows.cli.entry import command

command()
