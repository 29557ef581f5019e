"""Runs the flows of `engage simulator` and of `engage experiment credit`, `feedback`, `people`, `abilities`, `transfer` in this process; returns text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from rich.console import Console

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import check_adapter_names
from engage.files.refusal import first_refusal
from engage.home import Home
from flows.cli.policies import named_adapter, named_policy
from flows.cli.profiles import Asked, load_config
from flows.cli.running import command_again, find_cycle_id, in_process, open_cycle

Checked = TypeVar("Checked", bound=BaseModel)


def run_simulator_training(
    console: Console,
    profile: str,
    overrides: Sequence[str],
    corpora: Sequence[str],
    roles: Sequence[str],
    max_dialogues: int | None,
    skip_dialogues: int,
    start: str | None,
    out: Path,
    verbose: bool,
) -> str:
    """Train an adapter on human dialogues in this process; returns the result as text."""
    config = load_config(profile, overrides)
    unknown = set(roles) - {"simulator", "policy"}
    if unknown or not roles:
        raise ConfigError(f"--role {', '.join(sorted(unknown)) or 'is missing'}: use simulator, policy or both")
    with in_process(console, verbose, "the same command"):
        from flows.simulator import train_simulator

        result = train_simulator(config, list(corpora), list(roles), max_dialogues, str(out), start, skip_dialogues)
    folder, metrics = result.adapter, result.metrics
    empty = f", {count:.0f} as without text to learn" if (count := metrics.get("chats_empty", 0.0)) else ""
    side = "policy" if set(roles) == {"policy"} else "simulator"
    return (
        f"Trained on {metrics['chats']:.0f} chats ({metrics['chats_too_long']:.0f} were left out as too long{empty}); loss {metrics['loss']:.3f}.\n"
        f"Use it: --set engine.{side}_adapter={folder}"
    )


def run_credit(
    console: Console,
    asked: Asked,
    cycle: str | None,
    pairs: int,
    prefixes: int,
    rollouts: int,
    verbose: bool,
) -> str:
    """Check the values of a collected cycle against fresh rollouts in this process; returns the result as text."""
    from engage.experiments import ValueCheckConfig

    more = ("--pairs", f"{pairs}", "--prefixes", f"{prefixes}", "--rollouts", f"{rollouts}")
    with _on_cycle(console, "credit", asked, find_cycle_id(cycle), verbose, more) as (config, cycle_id):
        from flows.credit import credit

        return credit(config, cycle_id, ValueCheckConfig(pairs=pairs, prefixes=prefixes, rollouts=rollouts)).text


def run_people(
    console: Console,
    asked: Asked,
    cycle: str | None,
    policy: str | None,
    settings: Mapping[str, Any],
    verbose: bool,
) -> str:
    """Score people's replies with a policy and its nulls in this process; `settings` are the fields of `PeopleConfig`.

    `policy` names an adapter (None: the cycle's candidate). Returns the result as text.
    """
    from engage.experiments.people.plan import PeopleConfig

    people_config = _checked(PeopleConfig, settings)
    existing = find_cycle_id(cycle)
    adapter = named_adapter(policy or existing)
    options = {**settings, "policy": policy}
    more = [
        part
        for name, value in options.items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", f"{value}")
    ]
    with _on_cycle(console, "people", asked, existing, verbose, more) as (config, cycle_id):
        from flows.people import people

        return people(config, cycle_id, str(adapter), people_config).text


def run_abilities(console: Console, asked: Asked, cycle: str | None, policy: str | None, verbose: bool) -> str:
    """Ask the policies of a cycle short instructions in this process; returns the result as text.

    `policy` names an adapter (None: the cycle's candidate), or is `base` for none.
    """
    existing = find_cycle_id(cycle)
    adapter = named_policy(asked.config(existing), policy or existing)[1]
    more = ["--policy", policy] if policy else []
    with _on_cycle(console, "abilities", asked, existing, verbose, more) as (config, cycle_id):
        from flows.abilities import abilities

        return abilities(config, cycle_id, adapter).text


def run_transfer(console: Console, asked: Asked, cycle: str | None, verbose: bool) -> str:
    """Ask held-out simulators after the conversations of a cycle's pairs in this process; returns the result as text."""
    with _on_cycle(console, "transfer", asked, find_cycle_id(cycle), verbose) as (config, cycle_id):
        from flows.transfer import transfer

        return transfer(config, cycle_id).text


@contextmanager
def _on_cycle(
    console: Console, experiment: str, asked: Asked, existing: str, verbose: bool, more: Sequence[str] = ()
) -> Iterator[tuple[CycleConfig, str]]:
    """Run an experiment on an existing cycle in the body, which gets configuration and id; `more` are the command's other options."""
    config = asked.config(existing)
    check_adapter_names(config.engine, config.evaluation)
    cycle_id = open_cycle(console, existing)
    with in_process(console, verbose, command_again(f"experiment {experiment}", asked, cycle_id, more)):
        yield config, cycle_id


def _checked(kind: type[Checked], settings: Mapping[str, Any]) -> Checked:
    """The settings that options give; ConfigError with the option that is wrong."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        refused = first_refusal(error)
        option = refused.path[0].replace("_", "-").replace("corpora", "corpus").replace("adapters", "adapter")
        raise ConfigError(f"--{option} {refused.shown}: {refused.reason}") from error


def run_simulator_card(
    console: Console,
    profile: str,
    overrides: Sequence[str],
    settings: Mapping[str, Any],
    out: Path | None,
    verbose: bool,
) -> str:
    """Make a simulator card in this process; returns its short form and the path of the page.

    `settings` are the fields of `CardConfig`; without `adapters` the profile's simulator is used.
    """
    from engage.experiments.simulator_card.plan import CardConfig

    config = load_config(profile, overrides)
    adapters = settings["adapters"] or config.engine.simulators or [config.engine.simulator_adapter or "bare"]
    card = _checked(CardConfig, {**settings, "adapters": adapters})
    folder = out or _new_folder("cards")
    with in_process(console, verbose, "the same command"):
        from flows.simulator import simulator_card

        result = simulator_card(config, card, str(folder))
    return f"{result.text}\nThe whole card: {result.page}"


def run_feedback(
    console: Console,
    profile: str,
    overrides: Sequence[str],
    settings: Mapping[str, Any],
    out: Path | None,
    verbose: bool,
) -> str:
    """Compare simulators with people's scores in this process; returns a short form and the path of the page.

    `settings` are the fields of `FeedbackConfig`.
    """
    from engage.experiments.feedback.plan import FeedbackConfig

    config = load_config(profile, overrides)
    asked = _checked(FeedbackConfig, settings)
    asked.check()
    folder = out or _new_folder("feedback")
    with in_process(console, verbose, "the same command"):
        from flows.feedback import simulator_feedback

        result = simulator_feedback(config, asked, str(folder))
    return f"{result.text}\nThe whole page: {result.page}"


def _new_folder(kind: str) -> Path:
    return Home.from_env().path / kind / datetime.now().strftime("%Y-%m-%d-%H%M%S")
