"""Writes what is known of a cycle: its report, the night's page, the cycle's MLflow run, the registry version, the run of all nights.

The newest stage counts. Earlier pages of a cycle stay below the newest one.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from engage.engines.prices import Prices
from engage.evaluation.collected import Collected, tokens_of, usd_of
from engage.evaluation.held_out import HeldOutStore
from engage.evaluation.logged import champion_over_base, headline
from engage.evaluation.night_page import keep_verdict, night_page
from engage.evaluation.night_page.gains import decision
from engage.evaluation.promotion import Verdict
from engage.evaluation.simulators import deciding
from engage.evaluation.summary import Aligned, Judged
from engage.pages import bounded
from engage.store import Challenge
from engage.tracking import GROUND_TAG, NIGHTS, version_facts
from engage.training import Candidate, latest_candidate
from engage.workspace import Workspace

JUDGED_TAG = "engage.judged"
"""The adapter that the cycle's run tells of, relative to the home; empty if there was no candidate."""
NOT_JUDGED, NONE_YET = "not judged yet", "none yet"


def add_page(workspace: Workspace, cycle_id: str, newest: str) -> tuple[str, str]:
    """Put a page on top of the cycle's report, here and in MLflow, unless it is there; returns the report and the run's id."""
    path = workspace.home.cycle(cycle_id) / "report.md"
    earlier = path.read_text(encoding="utf-8") if path.is_file() else ""
    page = newest
    if earlier == newest or earlier.startswith(f"{newest}\n---\n"):
        page = earlier
    elif earlier:
        until = datetime.fromtimestamp(path.stat().st_mtime)
        page = f"{newest}\n---\n\n*Written {until:%Y-%m-%d %H:%M}, and replaced by the above:*\n\n{earlier}"
    workspace.write(cycle_id, "report.md", page)
    run = workspace.tracker.cycle_run(cycle_id)
    run.page(page, "report.md")
    return page, run.run_id


def record_pairs(workspace: Workspace, cycle_id: str, aligned: Aligned) -> None:
    """Record with the cycle's run how many pairs were accepted, and the tokens so far."""
    figures = {"pairs": aligned.pairs.accepted, "tokens_m": _tokens_m(workspace, cycle_id)}
    workspace.tracker.cycle_run(cycle_id).newest(figures)


def _tokens_m(workspace: Workspace, cycle_id: str) -> float | None:
    """Millions of tokens of the cycle so far, None if a server did not report them."""
    tokens = tokens_of(workspace.store, cycle_id)
    return None if tokens is None else tokens / 1e6


def record_verdict(
    workspace: Workspace, prices: Prices, cycle_id: str, judged: Judged, candidate: Candidate | None
) -> None:
    """Record what was decided with the cycle's run, and in the description of the candidate's version."""
    promoted = "yes" if judged.verdict.promoted else "no"
    found, run = headline(judged.comparisons), workspace.tracker.cycle_run(cycle_id)
    cost = {"tokens_m": _tokens_m(workspace, cycle_id), "usd": usd_of(workspace.store, cycle_id, prices)}
    run.newest({**found, **cost})
    tags = {"verdict": judged.verdict.reason, "promoted": promoted, JUDGED_TAG: _shown(workspace, candidate)}
    run.tags({**tags, GROUND_TAG: judged.ground, "judged_with": deciding(judged.comparisons) or "nobody"})
    if candidate:
        adapter = workspace.home.find(candidate.adapter)
        gain = bounded(found["gain"], found["gain_low"], found["gain_high"], "{:+.3f}")
        facts = version_facts(
            judged.verdict.reason, cycle_id, adapter, f"{gain} ({deciding(judged.comparisons)} simulator)"
        )
        tracker = workspace.tracker
        tracker.describe(
            tracker.version_of(adapter), adapter, facts, {"verdict": judged.verdict.reason, "promoted": promoted}
        )


def record_unjudged(workspace: Workspace, cycle_id: str, candidate: Candidate | None) -> None:
    """Take the verdict from the cycle's run after a new training, unless its candidate is the one that was judged last."""
    run = workspace.tracker.cycle_run(cycle_id)
    if run.tag(JUDGED_TAG) != _shown(workspace, candidate):
        verdict = NOT_JUDGED if candidate else "no candidate was trained"
        run.newest(headline({}))
        run.tags({"verdict": verdict, "promoted": "no", JUDGED_TAG: NONE_YET})


def record_night(
    workspace: Workspace,
    held: HeldOutStore,
    collected: Collected,
    aligned: Aligned,
    judged: Judged,
    simulators: Sequence[str],
    scripted: bool,
) -> None:
    """Add the night to the run of all nights; `scripted` ones, which try the program, have a run of their own."""
    cycle_id, flips = held.cycle.cycle_id, collected.users_as_assistants
    figures = {
        **headline(judged.comparisons),
        "champion_over_base": champion_over_base(held, simulators),
        "pairs": aligned.pairs.accepted,
        "tokens_m": _tokens_m(workspace, cycle_id),
        "minutes": workspace.tracker.cycle_run(cycle_id).metric("minutes"),
        "role_flips": flips.value if flips else None,
        "unspoken": sum(collected.unspoken.values()),
        "crises": collected.crises,
    }
    workspace.tracker.night(cycle_id, figures, f"scripted {NIGHTS}" if scripted else NIGHTS)


def retell_verdict(workspace: Workspace, challenge: Challenge, verdict: Verdict, failures: Sequence[str]) -> None:
    """Record what a later night decided about a cycle's candidate, with its run and for its page, unless they tell of another candidate by now."""
    run, find = workspace.tracker.cycle_run(challenge.cycle_id), workspace.home.find
    if (told := run.tag(JUDGED_TAG)) and find(told) == find(str(challenge.adapter)):
        run.tags({"verdict": verdict.reason, "promoted": "yes" if verdict.promoted else "no"})
        keep_verdict(workspace.home.cycle(challenge.cycle_id), challenge.policy, verdict, failures)


def retell_promotion(workspace: Workspace, adapter: Path, policy: str, reason: str) -> None:
    """Record with the run and for the page of the cycle whose candidate this is (`policy` is its label) that it was promoted after its night.

    What tells of a promotion already stays as it is.
    """
    home, tracker = workspace.home, workspace.tracker
    for cycle_id in workspace.store.cycle_ids():
        candidate = latest_candidate(home.cycle(cycle_id), home.find)
        if candidate is None or Path(candidate.adapter) != adapter:
            continue
        run, folder = tracker.cycle_run(cycle_id), home.cycle(cycle_id)
        if run.tag("promoted") != "yes":
            keep_verdict(folder, policy, Verdict(True, reason), decision(folder, policy).failures)
            run.tags({"verdict": reason, "promoted": "yes", JUDGED_TAG: tracker.shown(adapter)})


def write_night_page(workspace: Workspace, cycle_id: str) -> Path:
    """Write the page of the night into the cycle's folder and into MLflow; returns its path."""
    folder = workspace.home.cycle(cycle_id)
    candidate = latest_candidate(folder, workspace.home.find)
    page = night_page(workspace.store, cycle_id, folder, Path(candidate.adapter) if candidate else None)
    written = workspace.write(cycle_id, "report.html", page)
    workspace.tracker.cycle_run(cycle_id).files(written, "page")
    return written


def _shown(workspace: Workspace, candidate: Candidate | None) -> str:
    return workspace.tracker.shown(workspace.home.find(candidate.adapter)) if candidate else ""
