"""What several commands share: the two consoles and their options."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.cli.showing import Terminal

console = Terminal()
errors = Terminal(stderr=True)
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="a name in deployments/profiles or the path of a TOML file")
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


def with_modules(profile: str, overrides: Sequence[str] | None, modules: Sequence[str] | None) -> list[str]:
    """Add an override that allows these modules in addition to the profile's."""
    settings = list(overrides or [])
    if not modules:
        return settings
    from flows.cli.profiles import load_config

    allowed = dict.fromkeys((*load_config(profile, settings).scenarios.domain_modules, *modules))
    return [*settings, f"scenarios.domain_modules={json.dumps(list(allowed))}"]
