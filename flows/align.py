"""Turns the trees in the store into a candidate adapter."""

import logging

from prefect import flow

from engage.config import CycleConfig
from engage.evaluation import Aligned
from tasks.cycle import CLOSING, begin_cycle
from tasks.reporting import report_align
from tasks.run_log import finished, log
from tasks.training import choose_candidate, make_pairs, train_candidate


@flow(name="align", flow_run_name="{cycle_id}", **CLOSING)
def align(config: CycleConfig, cycle_id: str, alone: bool = True) -> Aligned:
    """Score pairs, add pairs from human dialogues if configured, and train on them. Without an accepted pair there is no candidate, and the summary says so.

    If the stage runs `alone`, and not as part of a night, it writes its own report.
    """
    for sentence in config.unused():
        log(sentence, logging.WARNING)
    cycle = begin_cycle(config, cycle_id)
    pairs = make_pairs(config, cycle)
    adapter = train_candidate(config, cycle, pairs) if pairs.accepted else None
    aligned = Aligned(pairs, choose_candidate(cycle, adapter))
    if alone:
        report_align(cycle_id, aligned)
    return finished(cycle_id, aligned)
