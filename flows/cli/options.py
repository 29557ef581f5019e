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
        "--set", help="override a setting, such as search.num_simulations=8; an empty value takes the default"
    ),
]
AnyLanguage = Annotated[
    bool,
    typer.Option(
        "--any-language", help="take what is not in English too, although the rules for crises do not read it"
    ),
]
DomainModules = Annotated[
    list[str] | None,
    typer.Option("--domain-module", help="allow a Python module with a domain of your own; importing it runs its code"),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on the last line, no table")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show Prefect's own log")]


def with_modules(profile: str, overrides: Sequence[str] | None, modules: Sequence[str] | None) -> list[str]:
    """The overrides with one more that allows these modules beside those of the profile."""
    settings = list(overrides or [])
    if not modules:
        return settings
    from flows.cli.profiles import load_config

    allowed = dict.fromkeys((*load_config(profile, settings).scenarios.domain_modules, *modules))
    return [*settings, f"scenarios.domain_modules={json.dumps(list(allowed))}"]
