"""Makes pairs from human dialogues, if the configuration names corpora."""

from prefect import task

from engage import stopping
from engage.config import CycleConfig
from engage.engines import shared_engine
from engage.store import Cycle
from engage.training import HumanPairs, human_count
from engage.training.human_pairs import draw_human_pairs as sampled_pairs
from engage.training.human_pairs import read_human
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(name="draw-human-pairs", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def draw_human_pairs(config: CycleConfig, cycle: Cycle, search_pairs: int) -> HumanPairs:
    """Make as many pairs as the ratio requires for the search's pairs; their dialogues are stored as trajectories."""
    wanted = human_count(search_pairs, config.pairs.human_ratio)
    if not config.human.corpora or not wanted:
        return HumanPairs()
    workspace = Workspace.from_env()
    drawn = stopping.run(
        sampled_pairs(
            shared_engine(config.engine),
            read_human(config.human, workspace.store),
            wanted,
            config=config.human,
            speech=config.dialogue.speech,
            max_length=config.align.dpo.max_length,
            seed=cycle.seed,
            adapter=cycle.champion_adapter,
        )
    )
    workspace.store.add_scenarios(drawn.scenarios())
    workspace.outbox.put_dialogues(drawn.records(cycle.cycle_id))
    workspace.drain()
    return drawn
