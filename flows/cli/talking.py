"""The commands that talk with what was trained: `engage chat`. Their bodies are imported when needed."""

from typing import Annotated

import typer

from flows.cli.options import DomainModules, Profile, Settings, console
from flows.cli.profiles import Asked

Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        help="base, champion, candidate (of the latest cycle), a cycle, a registry version, or an adapter's folder",
    ),
]


def chat(
    policy: Policy = "base",
    as_: Annotated[
        str,
        typer.Option("--as", help="user: you talk to the assistant; assistant: you play it; watch: two models talk"),
    ] = "user",
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="id of a scenario, or its beginning; default: at random")
    ] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="a scenario of this domain, at random")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="a second assistant, named as --policy: both answer side by side, and you choose"
        ),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="keep the conversation in the store, as cycle `chat`; it is not trained on unless human.corpora names chat",
        ),
    ] = False,
    profile: Profile = "laptop",
    set_: Settings = None,
    domain_module: DomainModules = None,
) -> None:
    """Talk to an assistant as the user, play the assistant, or watch two models; the exit survey follows at the end."""
    from flows.cli.chat import Wish, hold_chat

    wish = Wish(as_, policy, against, scenario, domain, save)
    wish.check()
    hold_chat(console, Asked.by(profile, set_, domain_module).config(), wish)
