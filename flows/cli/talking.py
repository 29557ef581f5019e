"""The commands that talk with what was trained: `engage chat` and `engage fork`. Their bodies are imported when needed."""

from typing import Annotated

import typer

from engage.errors import ConfigError
from flows.cli.options import CycleProfile, DomainModules, Profile, Settings, console
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


def fork(
    dialogue: Annotated[str, typer.Argument(help="id of a dialogue, as queries print it, or its beginning")],
    turn: Annotated[
        int | None, typer.Option("--turn", help="number of the turn to replace, as `engage show` prints it")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="what is said there instead")] = None,
    times: Annotated[
        int, typer.Option("-n", min=1, max=1000, help="continuations of each text, with the same seeds")
    ] = 8,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", help="the assistant that goes on, named as in `engage chat`; default: the dialogue's own"
        ),
    ] = None,
    profile: CycleProfile = None,
    set_: Settings = None,
    domain_module: DomainModules = None,
) -> None:
    """Replace one turn of a stored dialogue and compare how it goes on; without --turn and --text, replay it without a model."""
    from flows.cli.forking import Edit, fork_dialogue

    if (turn is None) != (text is None):
        raise ConfigError("--turn and --text: give both to replace a turn, or neither to replay the dialogue")
    edit = None if turn is None or text is None else Edit(turn, text, policy, times)
    if not fork_dialogue(console, dialogue, edit, Asked.by(profile, set_, domain_module)):
        raise typer.Exit(1)
