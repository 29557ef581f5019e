"""Asks the policies of a cycle the instructions one after the other, and writes what they got right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage import stopping
from engage.config import CycleConfig
from engage.engines import model_of, shared_engine
from engage.engines.base import Side
from engage.experiments.abilities.instructions import GREEDY, ask, instructions, kept_replies
from engage.experiments.abilities.page import Abilities, abilities_answer, abilities_page, replies_csv
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.models import adapter_fingerprint
from engage.progress import Bar
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.training import start_adapter


@dataclass(frozen=True)
class AbilitiesPage:
    """The result as the `text` that the command prints, and the page's path."""

    text: str
    path: Path


def policies_of(config: CycleConfig, cycle: Cycle, adapter: str | None) -> dict[str, str]:
    """Adapter folders ("": none) by the policies' names on the page; a start without an adapter is the base itself."""
    start = start_adapter(config, cycle)
    found = {"base": "", **({"before": str(start)} if start else {})}
    return {**found, **({"candidate": adapter} if adapter else {})}


@task(name="ask-instructions", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def ask_policy(config: CycleConfig, cycle: Cycle, name: str, adapter: str) -> str:
    """The file with one policy's replies; a reply that is kept is not asked for again."""
    key = digest(
        [model_of(config.engine, Side.POLICY), adapter_fingerprint(adapter) if adapter else "", GREEDY.max_tokens]
    )
    path, asked = _folder(cycle) / f"{key[:16]}.jsonl", instructions()
    bar = Bar(f"{name} is asked (instructions)", len(asked))
    stopping.run(ask(shared_engine(config.engine), adapter, asked, path, bar.advance))
    bar.finish()
    return str(path)


@task(name="write-abilities", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def write_abilities(
    config: CycleConfig, cycle: Cycle, policies: Mapping[str, str], files: Mapping[str, str]
) -> AbilitiesPage:
    """Write page and table into the cycle's folder, and log them as the stage `abilities`."""
    asked = instructions()
    found = Abilities(asked, {name: _replies(Path(path)) for name, path in files.items()})
    base = model_of(config.engine, Side.POLICY)
    about = {
        name: f"{base}, adapter {adapter_fingerprint(one)[:12]}" if one else base for name, one in policies.items()
    }
    whole = abilities_page(cycle.cycle_id, found, about)
    name = f"abilities-{digest(about)[:12]}"
    path = _folder(cycle) / f"{name}.md"
    write_whole(path.with_suffix(".csv"), replies_csv(found))
    write_whole(path, whole)
    with Workspace.from_env().tracker.stage(cycle.cycle_id, "abilities", digest(about)[:12]) as run:
        run.params({f"abilities.{name}": what for name, what in about.items()})
        run.metrics(found.metrics())
        run.files(path.with_suffix(".csv"), "abilities")
        run.page(whole, path.name)
    create_markdown_artifact(whole, key="engage-abilities", description="abilities")
    return AbilitiesPage(f"{abilities_answer(found)}\nabilities: {found.line}\nThe page: {path}", path)


def _replies(path: Path) -> Sequence[str]:
    kept = kept_replies(path).read()
    return [kept[one.instruction] for one in instructions()]


def _folder(cycle: Cycle) -> Path:
    return Workspace.from_env().home.cycle(cycle.cycle_id) / "abilities"
