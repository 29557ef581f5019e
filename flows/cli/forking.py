"""`engage fork`: what would have happened if another word had been said at one turn of a stored dialogue; or, without one, its replay."""

import asyncio
import re
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rich.console import Console

from engage.config import CycleConfig
from engage.dialogue import Dialogue, Turn
from engage.domains import allow_modules, load_domain
from engage.domains.rules.crisis import speaks_of_harm
from engage.engines import close_engines, shared_engine
from engage.engines.recording import RecordingEngine
from engage.errors import ConfigError, EngineError
from engage.evaluation import SEARCH_SIMULATOR, engine_for_label, policy_label
from engage.files.reading import unprintable
from engage.home import Home
from engage.masking import mask_urls
from engage.search import ForkRecord, gather
from engage.simulation import DialogueConfig, Recorded, begin_episode, play_from, replay
from engage.store import Challenges, Cycle, Outbox, StoredDialogue, TrajectoryStore, read_dialogue
from engage.training import latest_candidate
from flows.cli.asking import tell
from flows.cli.dialogues import find_dialogue_id
from flows.cli.forked import Stage, print_change
from flows.cli.interrupts import go_on_with
from flows.cli.policies import named_policy
from flows.cli.profiles import Asked
from flows.cli.running import quieten, ready_to_paste


@dataclass(frozen=True)
class Edit:
    """What is said at a turn instead, by which assistant the dialogue goes on (None: its own), and how often."""

    turn: int
    text: str
    policy: str | None
    times: int


def fork_dialogue(console: Console, wanted: str, edit: Edit | None, asked: Asked) -> bool:
    """Fork a stored dialogue, or replay it without an edit; returns False if the replay differs from what is stored."""
    quieten(False)
    home = Home.from_env()
    store = TrajectoryStore(home.database, on_wait=tell)
    name = find_dialogue_id(store, wanted)
    (row,) = store.rows("dialogue", {"id": name})
    config = asked.config(row["cycle"])
    allow_modules(config.scenarios.domain_modules)
    kept = read_dialogue(store, name)
    if edit is None:
        return _replay(console, kept, config)
    stage, outbox = _stage(store, home, config, kept, edit), Outbox(home.outbox)
    store.drain(outbox)  # continuations that an interrupted command left
    go_on_with(ready_to_paste([*map(mask_urls, sys.argv[1:])]))
    try:
        failed = asyncio.run(_continue(console, config, stage, edit.times, outbox, store))
    finally:
        close_engines()
        store.drain(outbox)
    print_change(console, store, stage, edit.times, failed)
    return True


def _replay(console: Console, kept: StoredDialogue, config: CycleConfig) -> bool:
    count, differences = asyncio.run(
        replay(_recorded(kept), _as_long(config.dialogue, kept) if kept.purpose == "fork" else config.dialogue)
    )
    if differences:
        console.print(f"{kept.id}: the replay without a model differs from what is stored:", soft_wrap=True)
        for sentence in differences:
            console.print(f"  {sentence}", soft_wrap=True)
        return False
    tree = f"; its first {kept.tree_depth} turns after the opening are taken from its tree" if kept.tree_depth else ""
    console.print(
        f"{kept.id}: replayed without a model from {count} stored request{'s' * (count != 1)}; turns, end, survey answer and reward all agree{tree}.",
        soft_wrap=True,
    )
    return True


def _as_long(config: DialogueConfig, kept: StoredDialogue) -> DialogueConfig:
    """With room for as many exchanges as the dialogue has: one between people may be longer than the settings allow."""
    return config.model_copy(update={"max_exchanges": max(config.max_exchanges, kept.trajectory.exchanges)})


def _recorded(kept: StoredDialogue) -> Recorded:
    """How the dialogue was played. ConfigError for a dialogue with a person, whose words no request gave."""
    opening = len(kept.scenario.opening.turns)
    path, simulation, held = "fresh", kept.simulation or 0, opening
    if kept.purpose == "human":
        raise ConfigError(
            f"{kept.id}: a person spoke in it, so no model can be replayed; fork it with --turn and --text"
        )
    if kept.purpose == "fork":
        path, held = "fork", int(kept.id.split("/")[-3]) + 1
    if kept.purpose == "search":
        held += kept.tree_depth
        name = re.compile(rf"{re.escape(kept.scenario.scenario_id)}/(.+)/(?:rollout|survey)/{simulation}(?:/|$)")
        path = next((found[1] for call in kept.calls if (found := name.match(call.key))), "")
    return Recorded(kept.scenario, kept.trajectory, Dialogue(kept.turns[:held]), path, simulation, kept.calls)


def _stage(store: TrajectoryStore, home: Home, config: CycleConfig, kept: StoredDialogue, edit: Edit) -> Stage:
    """Check the edit; ConfigError for a turn that cannot be replaced, for text that says nothing, and for speakers that are not known."""
    first, final, text = len(kept.scenario.opening.turns) - 1, len(kept.turns) - 1, " ".join(edit.text.split())
    if not first <= edit.turn <= final:
        raise ConfigError(
            f"--turn {edit.turn}: turns {first} to {final} of this dialogue can be replaced; see engage show"
        )
    if not text or unprintable(text):
        raise ConfigError(f"--text: {unprintable(text) or 'says nothing'}")
    before, said = Dialogue(kept.turns[: edit.turn]), kept.turns[edit.turn]
    if text == said.text:
        raise ConfigError(f"--text: is what is said at turn {edit.turn} already")
    policy, adapter = named_policy(config, edit.policy) if edit.policy else _own_policy(store, home, kept)
    simulator, user = _user(config, kept)
    if (last := before.last) and (last.unspoken or speaks_of_harm(last.text, load_domain(kept.scenario.domain).crisis)):
        raise ConfigError(f"--turn {edit.turn}: the dialogue was over before it ({kept.trajectory.end_reason})")
    branches = (before.add(said), before.add(Turn(said.role, text)))
    return Stage(kept, edit.turn, policy, simulator, (adapter, user), branches)


def _user(config: CycleConfig, kept: StoredDialogue) -> tuple[str, str | None]:
    """Label and adapter of the user that spoke; the search's for a person. ConfigError if the settings do not name it."""
    simulator = SEARCH_SIMULATOR if kept.simulator in (None, "human") else kept.simulator
    searching = config.adapters(None)
    if simulator == SEARCH_SIMULATOR:
        label, user = searching.user(kept.seed, kept.scenario.scenario_id)
        return label or SEARCH_SIMULATOR, user
    users = {**searching.drawn, **config.simulators()}
    if simulator not in users:
        raise ConfigError(
            f"its simulator {simulator!r} is not one of these settings ({', '.join(users)}); see engine.simulators, "
            "evaluation.second_simulator and evaluation.simulators"
        )
    return str(simulator), users[simulator]


def _own_policy(store: TrajectoryStore, home: Home, kept: StoredDialogue) -> tuple[str, str | None]:
    """Label and adapter of the assistant that spoke; the base model for a person. ConfigError if its weights are not to be found."""
    identity = store.cycle_config(kept.cycle_id)
    cycle = Cycle.stored(kept.cycle_id, 0, identity, home.find) if identity else None
    champion = cycle.champion_adapter if cycle else None
    if kept.purpose == "search":
        return (policy_label("champion", champion), champion) if champion else ("base", None)
    label = kept.policy
    if label in ("base", "human"):
        return "base", None
    candidate = latest_candidate(home.cycle(kept.cycle_id), home.find)
    known = [champion, candidate and candidate.adapter, *(one.adapter for one in Challenges(store).all())]
    for adapter in dict.fromkeys(str(home.find(one)) for one in known if one):
        if Path(adapter).is_dir() and policy_label("", adapter)[1:] == str(label).rpartition("-")[2]:
            return str(label), adapter
    raise ConfigError(
        f"the weights of its assistant {label!r} are not to be found in this home; name some with --policy"
    )


async def _continue(
    console: Console, config: CycleConfig, stage: Stage, times: int, outbox: Outbox, store: TrajectoryStore
) -> dict[str, str]:
    """Hold the continuations that are not stored yet, each into the outbox when it ends; returns the failed ones with their reason."""
    stored = {row["trajectory_id"] for row in store.rows("fork_dialogues", stage.query)}
    work = [
        (branch, stage.seed(number))
        for number in range(times)
        for branch in stage.branches
        if f"{stage.name(branch)}/{stage.seed(number)}" not in stored
    ]
    engine = shared_engine(engine_for_label(config.engine, config.evaluation.held_out_simulators, stage.simulator))
    dialogue = _as_long(config.dialogue, stage.kept)

    async def one(piece: tuple[Dialogue, int]) -> ForkRecord:
        branch, seed = piece
        recorder = RecordingEngine(engine)
        episode = begin_episode(recorder, stage.kept.scenario, dialogue, seed, *stage.adapters)
        trajectory = await play_from(episode, branch, "fork", 0)
        calls, labels = tuple(recorder.calls), (stage.policy, stage.simulator)
        return ForkRecord(stage.kept.cycle_id, "fork", *labels, seed, trajectory, calls, stage.name(branch))

    with console.status(f"{len(work)} continuations begin") if console.is_terminal else nullcontext() as status:
        done = count(1)

        def keep(record: ForkRecord) -> None:
            outbox.put_dialogues([record])
            if status:
                status.update(f"{next(done)} of {len(work)} continuations are played")

        result = await gather(engine, work, one, keep, lambda piece: f"{stage.name(piece[0])}/{piece[1]}")
    if work and len(result.failed) == len(work):
        name, reason = next(iter(result.failed.items()))
        raise EngineError(reason, name)
    return result.failed
