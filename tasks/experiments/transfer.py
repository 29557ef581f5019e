"""Asks held-out simulators the exit survey after a search's conversations, and writes whether the pairs hold for them."""

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage import stopping
from engage.config import CycleConfig
from engage.engines import shared_engine
from engage.errors import ConfigError, EngineError
from engage.evaluation.simulators import SEARCH_SIMULATOR, engine_for_label, simulators, users_identity
from engage.experiments.pair_transfer import Conversation, Transfer, ask_survey, kept_answers, transfer_page
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.progress import Bar
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@dataclass(frozen=True)
class TransferPage:
    """The result as the `text` that the command prints, and the page's path."""

    text: str
    path: Path


def held_out_users(config: CycleConfig) -> dict[str, str | None]:
    """Label → adapter of each held-out simulator; ConfigError without one."""
    found = simulators(config.engine, config.evaluation.held_out_simulators)
    found.pop(SEARCH_SIMULATOR)
    if not found:
        raise ConfigError(
            "no held-out simulator: evaluation.second_simulator and evaluation.simulators are unset, or name the search's simulator; "
            "name another with --set evaluation.second_simulator=FOLDER"
        )
    return found


@task(name="read-pair-conversations", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def read_conversations(cycle: Cycle) -> list[Conversation]:
    """The conversations through the replies of the cycle's pairs; ConfigError without pairs."""
    rows = Workspace.from_env().store.rows("pair_conversations", {"cycle": cycle.cycle_id})
    if not rows:
        raise ConfigError(
            f"cycle {cycle.cycle_id!r} has no accepted pair of its own search; run `engage align --cycle {cycle.cycle_id}` first, or name "
            "another with --cycle"
        )
    return [Conversation(**row) for row in rows]


@task(name="ask-survey", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def ask_user(
    config: CycleConfig, cycle: Cycle, label: str, adapter: str | None, conversations: list[Conversation]
) -> str:
    """The file with one simulator's answers; an answer that is kept is not asked for again."""
    speech, names = config.dialogue.speech, list(dict.fromkeys(one.trajectory_id for one in conversations))
    held_out = config.evaluation.held_out_simulators
    key = digest([users_identity(config.engine, held_out)[label], speech.reader])
    path = _folder(cycle) / f"{key[:16]}.jsonl"
    bar = Bar(f"{label} is asked (conversations)", len(names))
    engine = shared_engine(engine_for_label(config.engine, held_out, label))
    asking = ask_survey(engine, Workspace.from_env().store, names, speech, adapter, path, bar.advance)
    failed = stopping.run(asking).failed
    bar.finish()
    if failed:
        raise EngineError(f"{len(failed)} of {len(names)} conversations; the first: {min(failed.values())}", label)
    return str(path)


@task(name="write-transfer", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def write_transfer(cycle: Cycle, conversations: list[Conversation], files: dict[str, str]) -> TransferPage:
    """Write the page into the cycle's folder, and log it as the stage `transfer`."""
    found = Transfer(tuple(conversations), {label: kept_answers(Path(path)).read() for label, path in files.items()})
    whole, name = transfer_page(cycle.cycle_id, found), digest(sorted(files))[:12]
    path = _folder(cycle) / f"transfer-{name}.md"
    write_whole(path, whole)
    with Workspace.from_env().tracker.stage(cycle.cycle_id, "transfer", name) as run:
        run.metrics(found.metrics())
        run.page(whole, path.name)
    create_markdown_artifact(whole, key="engage-transfer", description="transfer")
    return TransferPage("\n".join([*found.lines, f"The page: {path}"]), path)


def _folder(cycle: Cycle) -> Path:
    return Workspace.from_env().home.cycle(cycle.cycle_id) / "transfer"
