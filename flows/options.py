"""What several commands share: the two consoles and their options."""

from typing import Annotated

import typer
from rich.console import Console

console = Console()
errors = Console(stderr=True)
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
Json = Annotated[bool, typer.Option("--json", help="one JSON object on the last line, no table")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show Prefect's own log")]
