"""Trains the nulls of a policy one after the other, scores the replies of people with all of them, and writes the result."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage import progress
from engage.config import CycleConfig
from engage.engines import close_engines
from engage.errors import ConfigError
from engage.experiments.people.figures import people_figures
from engage.experiments.people.null import Aligned, aligned, swapped
from engage.experiments.people.page import PeoplePage, save_people
from engage.experiments.people.plan import PeopleConfig, read_people
from engage.experiments.people.scores import KeptScores, score_replies
from engage.files.digest import digest, flat, key_settings
from engage.models import AdapterCard, resolve_model
from engage.progress import Bar
from engage.store import Cycle
from engage.training import load_pairs, train_dpo
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.training import start_adapter


@task(name="check-people", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def check_people(config: CycleConfig, cycle: Cycle, adapter: str, asked: PeopleConfig) -> Aligned:
    """The policy and what it was trained on. All user input is checked here first, because the following steps take many minutes."""
    workspace = Workspace.from_env()
    path = workspace.home.cycle(cycle.cycle_id) / "pairs.parquet"
    pairs = load_pairs(path) if path.exists() else []
    if not pairs:
        raise ConfigError(f"cycle {cycle.cycle_id!r} has no pairs; name with --cycle the cycle that trained the policy")
    base, start = resolve_model(config.engine.policy_model), start_adapter(config, cycle)
    policy = aligned(Path(adapter), base, start, pairs, config.align.held_out)
    people = read_people(asked, policy.domains, config.human)
    if asked.split == "test":
        workspace.tracker.open_test_split(cycle.cycle_id, flat(asked.model_dump(mode="json"), "people."))
    progress.tell(f"people: {len(people.scored)} dialogues of the {asked.split} split are scored")
    return policy


@task(name="train-null", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def train_null(config: CycleConfig, cycle: Cycle, asked: PeopleConfig, policy: Aligned, number: int) -> str:
    """The adapter of one null (`number` from 1); a finished one is not trained again, an interrupted training goes on."""
    close_engines()  # a training and an engine together would hold the weights twice
    dpo, pairs = policy.training.dpo, swapped(policy.pairs, asked.seed, number)
    steps = -(-len(pairs) // (dpo.batch_size * dpo.gradient_accumulation)) * dpo.epochs
    bar = Bar(f"DPO on swapped pairs, {number} of {asked.nulls} (steps)", steps)
    base, start = resolve_model(config.engine.policy_model), Path(policy.start) if policy.start else None
    out = _folder(cycle) / policy.fingerprint[:12] / f"null-{asked.seed}-{number}"
    result = train_dpo(pairs, base, out, policy.training, start, lambda *_: bar.advance())
    bar.finish()
    return str(result.adapter)


@task(name="score-people", retries=1, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def score_people(
    config: CycleConfig, cycle: Cycle, asked: PeopleConfig, policy: Aligned, adapters: Mapping[str, str]
) -> dict[str, str]:
    """Score the replies under each adapter ("": the base), by its name on the page; returns the files with the scores, by the same names."""
    close_engines()
    base, limit = resolve_model(config.engine.policy_model), config.align.sft.max_length
    people = read_people(asked, policy.domains, config.human)
    kept = {
        name: KeptScores.of(_folder(cycle) / "scores", base, adapter, people.domain, limit)
        for name, adapter in adapters.items()
    }
    bar = Bar("likelihood of people's replies (dialogues)", len(people.scored) * len(adapters))
    for name, adapter in adapters.items():
        score_replies(people.scored, base, adapter, limit, kept[name], bar.advance)
    bar.finish()
    return {name: str(one.path) for name, one in kept.items()}


@task(name="write-people", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def write_people(
    config: CycleConfig, cycle: Cycle, asked: PeopleConfig, policy: Aligned, scores: Mapping[str, str]
) -> PeoplePage:
    """Write page, table and JSON line, log them as the stage `people`, and note the result on the adapter's card."""
    workspace = Workspace.from_env()
    people = read_people(asked, policy.domains, config.human)
    start, own, *nulls = (KeptScores(Path(path)).read() for path in scores.values())
    found = people_figures(people, start, own, nulls, asked.seed)
    openings = workspace.tracker.openings() if asked.split == "test" else 0
    saved = save_people(_folder(cycle) / policy.fingerprint[:12], cycle.cycle_id, policy, asked, found, openings)
    try:
        AdapterCard.read(policy.adapter).model_copy(update={"people": saved.line}).write(Path(policy.adapter))
    except OSError as error:  # a folder of the user's, perhaps
        progress.tell(f"{policy.adapter}: the result is not on the adapter's card ({error.strerror}), only on the page")
    recipe = digest([policy.fingerprint, key_settings(asked)])[:12]
    with workspace.tracker.stage(cycle.cycle_id, "people", recipe) as run:
        run.params(flat(asked.model_dump(mode="json"), "people."))
        run.metrics(found.metrics())
        run.files(saved.path.with_suffix(".csv"), "people")
        run.page(saved.page, saved.path.name)
    create_markdown_artifact(saved.page, key="engage-people", description="people")
    return saved


def _folder(cycle: Cycle) -> Path:
    """The experiment's folder: `scores/`, which all policies of the cycle share, and one folder per policy."""
    return Workspace.from_env().home.cycle(cycle.cycle_id) / "people"
