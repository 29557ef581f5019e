"""The cycle's last words: a report for people, kept in the home, in MLflow and as a Prefect artifact."""

import os
import shlex
from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage.home import Home
from engage.masking import mask_urls
from tasks.tracking import Tracker

FEW_PAIRS = 16
MANY_FLIPS = 0.1
"""Share of first draws in which users may speak as assistants before the first line says so."""


@task(name="report-cycle")
def report_cycle(
    cycle_id: str, collected: dict[str, Any], aligned: dict[str, Any], judged: dict[str, Any]
) -> dict[str, Any]:
    """Write the report, keep it with the cycle's MLflow run, and return the summary with its text."""
    home = Home.from_env()
    text = summary_text(home, cycle_id, collected, aligned, judged)
    folder = home.cycle(cycle_id)
    folder.mkdir(parents=True, exist_ok=True)
    page = f"{text}\n\n{judged['page']}"
    (folder / "report.md").write_text(page, encoding="utf-8")
    tracker = Tracker(home)
    run = tracker.cycle_run(cycle_id)
    run.page(page, "report.md")
    for simulator, by_domain in judged["comparisons"].items():
        for domain, found in by_domain.items():
            place = f"{simulator.replace(' ', '_')}/{domain}"
            run.metrics({f"reward_difference/{place}": found["difference"], f"reward_base/{place}": found["mean_base"]})
    run.metrics({"pairs_accepted": aligned["pairs"]["accepted"]})
    create_markdown_artifact(page, key="engage-cycle-report", description=f"cycle {cycle_id}, MLflow run {run.run_id}")
    return {"cycle_id": cycle_id, "collected": collected, "aligned": aligned, "judged": judged, "text": text}


def summary_text(
    home: Home, cycle_id: str, collected: dict[str, Any], aligned: dict[str, Any], judged: dict[str, Any]
) -> str:
    """What happened, what it means, and how to look further; Markdown that a terminal shows as well."""
    happened = _items([*_collect_lines(cycle_id, collected), *_align_lines(aligned)])
    first = _role_warning(collected)
    lines = [f"# Cycle {cycle_id}{first and f': {first}'}", "", *happened, "", *_evaluation_lines(cycle_id, judged)]
    return "\n".join([*lines, "", *_next_steps(home, cycle_id)])


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def stage_text(stage: str, cycle_id: str, summary: dict[str, Any]) -> str:
    """The same for one flow alone, from what it returned."""
    if stage == "nightly":
        return str(summary["text"])
    home = Home.from_env()
    if stage == "comparison":
        return f"{summary['page']}\nThe page: {summary['path']}"
    if stage == "collect":
        first = _role_warning(summary)
        happened = _items(_collect_lines(cycle_id, summary))
        return "\n".join([*([first, ""] if first else []), *happened, "", *_next_steps(home, cycle_id)])
    lines = _items(_align_lines(summary)) if stage == "align" else _evaluation_lines(cycle_id, summary)
    return "\n".join([*lines, "", *_next_steps(home, cycle_id)])


def _collect_lines(cycle_id: str, collected: dict[str, Any]) -> list[str]:
    lines = []
    for row in collected["rewards"]:
        reward = "no readable reward" if row["reward_mean"] is None else f"mean reward {row['reward_mean']:.3f}"
        lines.append(f"{row['domain']}: {row['trees']} trees, {row['simulations']} simulated conversations, {reward}.")
    if not collected["rewards"]:
        lines.append("No tree was searched whole.")
    if collected["crises"]:
        lines.append(
            f"In {collected['crises']} conversations the user spoke of harming themselves: they ended with a referral, and "
            "nothing is learnt from them."
        )
    if collected["unspoken"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in collected["unspoken"].items())
        lines.append(
            f"{sum(collected['unspoken'].values())} conversations ended because a turn could not be drawn ({reasons}): they have no "
            "reward."
        )
    lines += _role_lines(collected.get("users_as_assistants"))
    if collected.get("unsearched"):
        lines.append(
            f"The budget (collect.budget) left {collected['unsearched']} scenarios unsearched; the same command with "
            f"--cycle {cycle_id} and a larger one goes on."
        )
    return [*lines, *_failed_lines(cycle_id, collected["failed"], "of the search")]


def _role_warning(collected: dict[str, Any]) -> str:
    """The first line of a night whose users were no users; empty for another one."""
    spoke = collected.get("users_as_assistants")
    if not spoke or spoke["value"] <= MANY_FLIPS:
        return ""
    return (
        f"The simulated users speak as assistants in {_interval(spoke)} of first draws. Do not trust this night's rewards: a prompted "
        "instruct model is no user. Train one with `engage simulator train` and set engine.simulator_adapter."
    )


def _role_lines(spoke: dict[str, Any] | None) -> list[str]:
    if not spoke:
        return []
    return [
        f"The simulated users spoke as the assistant in {_interval(spoke)} of {spoke['turns']} first draws; such a turn is drawn "
        "again."
    ]


def _interval(spoke: dict[str, Any]) -> str:
    bounds = "" if spoke["low"] is None else f" [{spoke['low']:.1%}, {spoke['high']:.1%}]"
    return f"{spoke['value']:.1%}{bounds}"


def _failed_lines(cycle_id: str, failed: dict[str, str], where: str) -> list[str]:
    if not failed:
        return []
    scenario, reason = next(iter(sorted(failed.items())))
    scenarios = "1 scenario" if len(failed) == 1 else f"{len(failed)} scenarios"
    return [
        f"{scenarios} {where} failed, {scenario} because: {reason}. "
        f"The same command with --cycle {cycle_id} tries again."
    ]


def _align_lines(aligned: dict[str, Any]) -> list[str]:
    pairs, candidate = aligned["pairs"], aligned["candidate"]
    counts = pairs["counts"]
    lines = [f"{counts['candidates']} candidate pairs, {counts['accepted']} accepted ({_drops(counts)})."]
    lines += _human_lines(pairs["human"])
    if candidate is None:
        lines.append(
            "Nothing was trained: collect more trees, or accept pairs of smaller gap (pairs.min_q_gap) or confidence "
            "(pairs.confidence)."
        )
    elif candidate["metrics"]["pairs"] < FEW_PAIRS:
        trained = int(candidate["metrics"]["pairs"])
        lines.append(
            f"DPO ran on {trained} pairs, fewer than {FEW_PAIRS}: expect no effect that can be told from zero."
        )
    return lines


def _human_lines(human: dict[str, int]) -> list[str]:
    if not human:
        return []
    left = _drops({name: count for name, count in human.items() if name not in {"dialogues", "places", "sampled"}})
    return [
        f"{human['accepted']} more pairs come from {human['dialogues']} human dialogues that went well: the policy was asked "
        f"at {human['sampled']} of {human['places']} places ({left})."
    ]


def _drops(counts: dict[str, int]) -> str:
    drops = [f"{name} {count}" for name, count in counts.items() if name not in {"candidates", "accepted"} and count]
    return "left out: " + ", ".join(drops) if drops else "none left out"


def _evaluation_lines(cycle_id: str, judged: dict[str, Any]) -> list[str]:
    lines = _items(_failed_lines(cycle_id, judged["failed"], "of the evaluation"))
    for simulator, by_domain in judged["comparisons"].items():
        lines.append(f"- With the {simulator} simulator, on held-out scenarios:")
        lines += [f"  - {_comparison_line(domain, judged['incumbent'], found)}" for domain, found in by_domain.items()]
    lines += _items([f"Failed check: {sentence}." for sentence in judged["failures"]])
    return [*lines, "", f"Verdict: {judged['verdict']['reason']}."]


def _comparison_line(domain: str, incumbent: str, found: dict[str, Any]) -> str:
    if found["difference"] is None or found["low"] is None:
        return f"{domain}: too few scenarios could be compared ({found['n']})."
    low, high = found["low"], found["high"]
    meaning = "better" if low > 0 else "worse" if high < 0 else "no difference that can be told from zero"
    return (
        f"{domain}: {incumbent} {found['mean_base']:.3f}, candidate {found['mean_candidate']:.3f}, difference "
        f"{found['difference']:+.3f} ({found['confidence']:.1%} interval {low:+.3f} to {high:+.3f}) on {found['n']} "
        f"scenarios: {meaning}."
    )


def _next_steps(home: Home, cycle_id: str) -> list[str]:
    prefix = f"ENGAGE_HOME={shlex.quote(str(home.path))} " if "ENGAGE_HOME" in os.environ else ""
    uri = home.tracking_uri
    shown = shlex.quote(uri) if mask_urls(uri) == uri else '"$MLFLOW_TRACKING_URI"'  # it holds a password
    return [
        "Look further:",
        "",
        f"    {prefix}.venv/bin/engage sql --name sibling_values --param cycle={cycle_id}",
        f"    {prefix}.venv/bin/engage sql --name transcript --param cycle={cycle_id}",
        f"    .venv/bin/mlflow ui --backend-store-uri {shown} --host 127.0.0.1 --port 5000",
    ]
