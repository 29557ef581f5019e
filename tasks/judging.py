"""Compares the candidate with base or champion, weighs its challenge and the kept one, and promotes what meets the rule."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from prefect import task

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import (
    NO_HELD_OUT,
    SCRIPTED,
    SEARCH_SIMULATOR,
    HeldOutStore,
    Incumbent,
    Judged,
    Judgement,
    conversations,
    evaluation_metrics,
    evaluation_seeds,
    evaluation_table,
    failed_checks,
    fates,
    gain_figure,
    judge_candidate,
    kept_challenge,
    policy_label,
    weigh,
)
from engage.evaluation.night_page import keep_verdict
from engage.evaluation.promoting import finish_earlier, settle
from engage.files.digest import digest, flat, key_settings
from engage.models import AdapterCard
from engage.progress import tell
from engage.search import METHOD_VERSION
from engage.store import Challenge, Challenges, Cycle, State
from engage.tracking import GROUND_TAG
from engage.training import Candidate
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.dialogues import digest_of, ground_of, held_out_store


def require_validation(config: CycleConfig) -> None:
    """Raise ConfigError if a night would be judged on the test split: only experiments may open it, and they are counted."""
    if config.evaluation.split != "validation":
        raise ConfigError(
            "evaluation.split=test: nights are judged on validation; `engage experiment comparison` opens the test split"
        )


def held_out_simulator(config: CycleConfig) -> str | None:
    """The label of the simulator that decides promotion; None without one, and for the scripted engine, whose answers decide nothing."""
    labels = [label for label in config.simulators() if label != SEARCH_SIMULATOR]
    return labels[0] if labels and config.engine.kind != "scripted" else None


@task(name="keep-challenger", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def keep_challenger(config: CycleConfig, cycle: Cycle, candidate: Candidate | None) -> Challenge | None:
    """The challenger of an earlier night that talks tonight as well, None if there is none; one whose folder is gone is dropped."""
    workspace, simulator = Workspace.from_env(), held_out_simulator(config)
    finish_earlier(workspace)
    if simulator is None:
        return None
    challenges, label = Challenges(workspace.store), policy_label("candidate", candidate.adapter) if candidate else None
    begun = workspace.store.cycle_ids()
    earlier = {*begun[begun.index(cycle.cycle_id) + 1 :]}  # a night that is judged again waits for no later one
    known = [one for one in challenges.all() if one.cycle_id in earlier]
    incumbent, auto = Incumbent.of(cycle).label, config.evaluation.promotion == "auto"
    ground = digest_of(config, ground_of(config))
    found = kept_challenge(known, incumbent, simulator, ground, auto, label)
    if found is None:
        return None
    folder = workspace.home.find(str(found.adapter))
    if not folder.is_dir():
        challenges.settle(found.number, State.DROPPED, f"its folder {folder} is gone")
        tell(f"candidate {found.number} is dropped: its folder {folder} is gone")
        return None
    counted = challenges.batches(found.number)
    seeds = evaluation_seeds(cycle, config.evaluation.dialogues)
    if all(counted.get(seed, cycle.cycle_id) != cycle.cycle_id for seed in seeds):
        tell(f"candidate {found.number} does not talk: this cycle has the seeds of an earlier one (seed={cycle.seed})")
        return None
    return replace(found, adapter=str(folder))


@task(name="judge", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def judge(
    config: CycleConfig,
    cycle: Cycle,
    candidate: Candidate | None,
    failed: Mapping[str, str],
    kept: Challenge | None = None,
) -> Judged:
    """Compare per domain, check for reward hacking, decide on promotion, and record all of it."""
    workspace, ground = Workspace.from_env(), ground_of(config)
    store, number = workspace.store, digest_of(config, ground)
    label = policy_label("candidate", candidate.adapter) if candidate else None
    held = held_out_store(workspace, cycle, ground.scenarios)
    found = judge_candidate(held, label, config.simulators(), config.evaluation.alpha)
    found = _decided(workspace, config, held, found, candidate, kept, number)
    found = replace(found, notes=(*found.notes, *ground.remarks))
    look = _look(config, cycle, label) if label else None
    keep_verdict(workspace.home.cycle(cycle.cycle_id), label, found.verdict, found.failures)
    with workspace.tracker.stage(cycle.cycle_id, "evaluation", look, _settings(config, candidate)) as run:
        run.params({"incumbent": found.incumbent.label} if label else {})
        run.newest(evaluation_metrics(found))
        run.tags(
            {
                GROUND_TAG: number,
                "verdict": found.verdict.reason,
                "promoted": "yes" if found.verdict.promoted else "no",
            }
        )
        run.table(evaluation_table(found), "evaluation.json")
        run.figure(gain_figure(found), "gain")
    for simulator, by_domain in found.comparisons.items():
        figures = {domain: asdict(comparison) for domain, comparison in by_domain.items()}
        store.add_evaluation(cycle.cycle_id, config.evaluation.split, str(label), simulator, figures, number)
    for side, policy in {"incumbent": found.incumbent.label, "candidate": label}.items():
        if policy and config.tracking.dialogues:
            told = conversations(held, policy, config.tracking.dialogues)
            workspace.tracker.conversations(cycle.cycle_id, side, policy, told)
    page = found.page(store, cycle)
    return Judged(
        found.incumbent.name, found.verdict, page, found.comparisons, found.failures, failed, found.notes, number
    )


def _decided(
    workspace: Workspace,
    config: CycleConfig,
    held: HeldOutStore,
    found: Judgement,
    candidate: Candidate | None,
    kept: Challenge | None,
    ground: str,
) -> Judgement:
    """The judgement with its verdict: the challenges of tonight's candidate and of the kept one are weighed, promoted, kept or dropped."""
    simulator, alpha = held_out_simulator(config), config.evaluation.alpha
    if simulator is None:
        scripted = found.verdict == NO_HELD_OUT and len(config.simulators()) > 1
        return replace(found, verdict=SCRIPTED) if scripted else found
    challenges, contenders = Challenges(workspace.store), []
    if candidate and found.label:
        mine = weigh(challenges, held, found.label, candidate.adapter, simulator, ground, alpha)
        contenders.append((mine, mine.verdict(found.failures)))
    if kept is not None:
        theirs = weigh(challenges, held, kept.policy, str(kept.adapter), simulator, ground, alpha)
        sides = (held.replies(label, [simulator]) for label in (found.incumbent.label, kept.policy))
        contenders.append((theirs, theirs.verdict(failed_checks(*sides))))
    notes = []
    for fate in fates(contenders, config.evaluation.promotion == "manual"):
        done = settle(workspace, held.cycle, fate)
        if done.standing.challenge.policy == found.label:
            found = replace(found, verdict=done.verdict)
        else:
            number = done.standing.challenge.number
            notes.append(f"candidate {number}, of cycle {done.standing.challenge.cycle_id}: {done.verdict.reason}")
    return replace(found, notes=(*notes, *found.notes))


def _settings(config: CycleConfig, candidate: Candidate | None) -> dict[str, Any]:
    """What may set an evaluation apart from others of its cycle: how the candidate was trained, and the evaluation's own settings."""
    trained = AdapterCard.read(candidate.adapter).config if candidate else {}
    align = {name: trained[name] for name in ("dpo", "lora") if name in trained}
    return flat({"align": align, "evaluation": config.evaluation.model_dump(mode="json")})


def _look(config: CycleConfig, cycle: Cycle, label: str) -> str:
    """Identifies one evaluation of a candidate, which has a run of its own."""
    settings = digest(key_settings(config.evaluation, exclude={"alpha", "promotion"}))[:8]
    return f"{label} {settings}" + (f" method {METHOD_VERSION}" if cycle.is_older else "")
