"""One line that says what a stage or a night came to: for lists of runs, where a page has no room."""

from engage.evaluation.collected import Collected
from engage.evaluation.summary import Aligned, Judged, Night


def outcome_line(stage: Collected | Aligned | Judged | Night, took_s: float) -> str:
    """The result in one line, ending with the minutes that it took."""
    return f"{_result(stage)}, {took_s / 60:.1f} min"


def _result(stage: Collected | Aligned | Judged | Night) -> str:
    if isinstance(stage, Night):
        return f"{stage.judged.verdict.reason}, {stage.aligned.pairs.accepted} pairs"
    if isinstance(stage, Judged):
        return stage.verdict.reason
    if isinstance(stage, Aligned):
        counts = stage.pairs.counts
        trained = (
            "nothing trained" if stage.candidate is None else f"trained on {stage.candidate.metrics['pairs']:.0f} pairs"
        )
        return f"{counts['accepted']} of {counts['candidates']} candidate pairs accepted, {trained}"
    rewards = [f"{row.domain} {row.reward_mean:.3f}" for row in stage.rewards if row.reward_mean is not None]
    trees = sum(row.trees for row in stage.rewards)
    failed = f", {len(stage.failed)} scenario{'s' * (len(stage.failed) > 1)} failed" if stage.failed else ""
    return f"{trees} trees{failed}" + (f", mean reward {', '.join(rewards)}" if rewards else "")
