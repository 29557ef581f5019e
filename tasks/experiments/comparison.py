"""Compares policies from their stored dialogues; writes the result to MLflow, to the store and to a page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefect import task

from engage.config import CycleConfig
from engage.evaluation import PolicyName
from engage.experiments import (
    ComparisonPage,
    TrainedPolicy,
    comparison_metrics,
    comparison_page,
    stored_figures,
)
from engage.experiments import compare_policies as compared
from engage.files.digest import digest, flat, key_settings
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.dialogues import held_out, held_out_store


@task(name="compare-policies", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def compare_policies(
    config: CycleConfig,
    cycle: Cycle,
    policies: Sequence[TrainedPolicy],
    divergences: Mapping[PolicyName, Mapping[str, float | None]],
    left: Mapping[str, str],
    failed: Mapping[str, str],
) -> ComparisonPage:
    """Compute tables of all policies with all simulators, the checks and the recovered headroom; saved in MLflow and as a page."""
    workspace, split, comparison = Workspace.from_env(), config.evaluation.split, config.comparison
    labels = {policy.name: policy.label(comparison) for policy in policies}
    held = held_out_store(workspace, cycle, held_out(config, cycle))
    result = compared(held, labels, config.simulators(), divergences, left, failed, split)
    spoke = {name: label for name, label in labels.items() if name not in result.left}
    settings = {"evaluation": key_settings(config.evaluation), "comparison": key_settings(comparison)}
    recipe = digest({**settings, "policies": spoke})[:8]
    with workspace.tracker.stage(cycle.cycle_id, f"comparison on {split}", recipe) as run:
        run.params({"split": split, **flat(comparison.model_dump(mode="json"), "comparison.")})
        page = comparison_page(replace(result, openings=workspace.tracker.openings()))
        run.metrics(comparison_metrics(result))
        run.page(page, f"comparison-{split}.md")
    for name, simulator, figures in stored_figures(result):
        workspace.store.add_evaluation(cycle.cycle_id, split, labels[name], simulator, figures)
    return ComparisonPage(page, workspace.write(cycle.cycle_id, f"comparison-{split}-{recipe}.md", page))


@task(name="open-test-split", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def open_test_split(config: CycleConfig, cycle: Cycle, policies: Sequence[TrainedPolicy]) -> None:
    """Count an opening of the test split before it is used: one per set of policies, simulators and dialogues."""
    if config.evaluation.split != "test":
        return
    looked_at = {
        "policies": [policy.label(config.comparison) for policy in policies],
        "simulators": list(config.simulators()),
        **flat(config.evaluation.model_dump(mode="json", include={"per_domain", "dialogues"})),
        **flat(config.comparison.model_dump(mode="json", include={"thinking_dialogues"})),
    }
    Workspace.from_env().tracker.open_test_split(cycle.cycle_id, looked_at)
