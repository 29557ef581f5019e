"""Trees in the store to a candidate adapter."""

from typing import Any

from prefect import flow

from engage.config import CycleConfig
from tasks.cycle import CLOSING, begin_cycle
from tasks.human import draw_human_pairs
from tasks.training import extract_pairs, name_candidate, score_pairs, train_candidate


@flow(name="align", **CLOSING)
def align(config: CycleConfig, cycle_id: str) -> dict[str, Any]:
    """Score pairs, add some from human dialogues where they are given, and train on them; without an accepted pair there is no candidate, and the summary says so."""
    cycle = begin_cycle(config, cycle_id)
    scored = score_pairs(config, cycle)
    human = draw_human_pairs(config, cycle, scored["accepted"])
    pairs = extract_pairs(config, cycle, scored, human)
    if pairs["accepted"]:
        return {"pairs": pairs, "candidate": train_candidate(config, cycle, pairs)}
    name_candidate(cycle, None)
    return {"pairs": pairs, "candidate": None}
