"""A training as MLflow shows it: settings, curves by optimiser step, what was measured at the end, and the adapter."""

from collections.abc import Callable, Mapping

from engage.engines import close_engines
from engage.progress import Bar
from engage.tracking.run import StageRun
from engage.training import DpoSettings, OnStep, SftSettings, TrainResult, before

CURVES = {
    "loss": "loss",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "grad_norm": "grad_norm",
}
"""What is logged of every optimiser step, with trl's names; the rest is in the adapter's `history.json`."""


def run_training(
    run: StageRun,
    settings: DpoSettings | SftSettings,
    what: str,
    examples: int,
    train: Callable[[OnStep], TrainResult],
) -> TrainResult:
    """Train on `what` (`examples` of them): engines closed, progress shown; settings, curves and adapter go to the MLflow run.

    A curve's step is the number of optimiser steps before its point. The first point is that of the start; the last one, of DPO, is
    measured on the finished policy (`engage.training.measures`), the others on the batch of the next step.
    """
    close_engines()  # a training and an engine together would hold the weights twice
    method, start = ("dpo", before(settings)) if isinstance(settings, DpoSettings) else ("sft", {})
    steps = -(-examples // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs
    bar = Bar(f"{method.upper()} on {what} (steps)", steps)
    params = {f"{method}.{name}": value for name, value in settings.model_dump().items()}
    run.params(params)

    def on_step(step: int, metrics: dict[str, float]) -> None:
        run.metrics(curve_point(start, step, metrics), step - 1)
        bar.advance()

    result = train(on_step)
    bar.finish()
    logged = run.steps("train/loss")
    for record in result.history:  # those that an earlier, killed run trained and did not log
        if (step := int(record["step"])) - 1 not in logged:
            run.metrics(curve_point(start, step, record), step - 1)
    measured = {name: value for name, value in result.metrics.items() if name.startswith(("train/", "held_out/"))}
    model, last = run.model(result.adapter, params), int(result.history[-1]["step"])
    if measured and last not in logged:
        if "held_out/loss" in measured:
            run.metrics({f"held_out/{name}": value for name, value in start.items()})
        run.metrics(measured, last, model)
    return result


def curve_point(start: Mapping[str, float], step: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """A step's metrics (trl's names, `step` from 1) by MLflow's names; at the first step `start` replaces what it names."""
    point = {name: metrics[theirs] for name, theirs in CURVES.items() if theirs in metrics}
    return {f"train/{name}": value for name, value in {**point, **(start if step == 1 else {})}.items()}
