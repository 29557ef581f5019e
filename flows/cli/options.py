"""What several commands share: the two consoles and their options."""

from typing import Annotated

import typer

from flows.cli.showing import Terminal

console = Terminal()
errors = Terminal(stderr=True)
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="a name in deployments/profiles or the path of a TOML file")
]
CycleProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="a name in deployments/profiles or the path of a TOML file; default: laptop, and for an existing cycle its own settings",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="override a setting, such as search.num_simulations=8; an empty value resets it to its default"
    ),
]
AnyLanguage = Annotated[
    bool,
    typer.Option(
        "--any-language", help="also accept text that is not in English; the rules for crises do not work on it"
    ),
]
DomainModules = Annotated[
    list[str] | None,
    typer.Option("--domain-module", help="allow a Python module with a domain of your own; importing it runs its code"),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on the last line instead of a table")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show Prefect's own log")]
