"""What is scheduled: `engage schedule --list`, `--pause`, `--resume` and `--remove`, and how a schedule differs from its profile of today."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from engage.errors import ConfigError, EngageError
from engage.files.digest import flat
from engage.profiles import profile_name
from flows.cli.carrying import absolute_config
from flows.cli.prefect_client import connected
from flows.cli.profiles import load_config
from tasks.notifying import BLOCK

FLOW = "nightly"
ASKED_BY = "ENGAGE_SCHEDULED_BY"
"""The variable of a scheduled run that says which profile and overrides its settings come from."""
SHOWN_CHANGES = 5


@dataclass(frozen=True)
class Schedule:
    """One deployment of `nightly`; `drift` names settings that its profile has otherwise by now, `at` is cron text with time zone.

    `next_at` is in that time zone.
    """

    name: str
    at: str
    paused: bool
    version: str
    next_at: datetime | None
    last: str
    last_state: str
    drift: tuple[str, ...]


def schedules(client: Any) -> list[Schedule]:
    """All deployments of `nightly` on the server, by name."""
    return sorted((_schedule(client, found) for found in _deployments(client)), key=lambda one: one.name)


def show_schedules(console: Console) -> None:
    """Print one row per schedule, and what to do about those whose profile has changed."""
    with connected() as client:
        found = schedules(client)
    if not found:
        console.print("nothing is scheduled; `engage schedule --at 02:00` does it.")
        return
    table = Table()
    for column in ("schedule", "when", "next run", "last run", "version"):
        table.add_column(column, overflow="fold")
    for one in found:
        soon = "paused" if one.paused else f"{one.next_at:%Y-%m-%d %H:%M}" if one.next_at else "none yet"
        table.add_row(f"{FLOW}/{one.name}", one.at, soon, f"{one.last} {one.last_state}".strip(), one.version)
    console.print(table)
    for one in found:
        if one.drift:
            console.print(f"{FLOW}/{one.name} {drifted(one)}", soft_wrap=True)


def drifted(schedule: Schedule) -> str:
    """A sentence about settings that the profile has otherwise by now."""
    more = f" and {len(schedule.drift) - SHOWN_CHANGES} more" if len(schedule.drift) > SHOWN_CHANGES else ""
    return f"runs with settings of when it was scheduled, its profile has others by now: {'; '.join(schedule.drift[:SHOWN_CHANGES])}{more}; schedule it again"


def change_schedule(console: Console, change: str, profile: str) -> None:
    """Pause, resume or remove `nightly/PROFILE`; ConfigError if it is not scheduled."""
    name = profile_name(profile)
    with connected() as client:
        known = {found.name: found.id for found in _deployments(client)}
        if name not in known:
            names = ", ".join(f"{FLOW}/{one}" for one in sorted(known)) or "nothing"
            raise ConfigError(f"{FLOW}/{name} is not scheduled (scheduled: {names}); name its profile with --profile")
        act = {"pause": client.pause_deployment, "resume": client.resume_deployment, "remove": client.delete_deployment}
        act[change](known[name])
    said = {"pause": "is paused; --resume lets it run again", "resume": "runs again when due"}
    console.print(f"{FLOW}/{name} {said.get(change, 'is removed; what its nights have made stays')}.")


def earlier(client: Any, name: str) -> tuple[str | None, str | None]:
    """What scheduling again keeps of the schedule with this name: its time zone, and the Secret block of its webhook; None if there is none."""
    found = next((one for one in _deployments(client) if one.name == name), None)
    if found is None:
        return None, None
    zone = getattr(found.schedules[0].schedule, "timezone", None) if found.schedules else None
    return zone, ((found.job_variables or {}).get("env") or {}).get(BLOCK)


def asked_by(profile: str, overrides: Sequence[str]) -> str:
    """JSON for ASKED_BY: the profile, and the names of the settings that were overridden."""
    path = Path(profile).expanduser()
    keys = sorted({override.partition("=")[0].strip() for override in overrides})
    return json.dumps({"profile": str(path.resolve()) if path.is_file() else profile, "set": keys})


def _deployments(client: Any) -> Sequence[Any]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    found: Sequence[Any] = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])), limit=200)
    return found


def _schedule(client: Any, found: Any) -> Schedule:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    def first(sort: Any, **state: Any) -> Any:
        here = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
        states = FlowRunFilter.model_validate({"state": {"type": state}})
        runs = client.read_flow_runs(deployment_filter=here, flow_run_filter=states, sort=sort, limit=1)
        return runs[0] if runs else None

    soon = first(FlowRunSort.EXPECTED_START_TIME_ASC, any_=["SCHEDULED"])
    last = first(FlowRunSort.START_TIME_DESC, not_any_=["SCHEDULED", "PENDING"])
    zone = next((ZoneInfo(one.schedule.timezone) for one in found.schedules if one.schedule.timezone), None)
    times = [
        f"{one.schedule.cron} ({one.schedule.timezone})" for one in found.schedules if hasattr(one.schedule, "cron")
    ]
    return Schedule(
        found.name,
        ", ".join(times),
        found.paused or not any(one.active for one in found.schedules),
        found.version or "",
        soon.expected_start_time.astimezone(zone) if soon else None,
        last.name if last else "",
        last.state_name if last else "",
        tuple(_drift(found)),
    )


def _drift(found: Any) -> list[str]:
    """Settings to which the profile of today gives other values than the schedule has, without those that were overridden.

    Nothing for a schedule that does not name its profile: one of another tool's, or of an older engage.
    """
    said = ((found.job_variables or {}).get("env") or {}).get(ASKED_BY)
    return changed(json.loads(said), found.parameters["config"]) if said and "config" in found.parameters else []


def changed(said: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """The differences between a schedule's settings and its profile of today; `said` is what `asked_by` noted."""
    try:
        today = flat(absolute_config(load_config(said["profile"])).model_dump(mode="json"))
    except EngageError as error:
        return [f"it cannot be read any more ({error})"]
    scheduled = flat(then)
    ours = (*said["set"], "scenarios.domain_modules")
    names = [name for name in today if name in scheduled and not any(f"{name}.".startswith(f"{key}.") for key in ours)]
    return [f"{name} is {today[name]}, was {scheduled[name]}" for name in names if today[name] != scheduled[name]]
