"""Notices a mean over rows that do not belong together: over purposes, cycles, policies or simulators that the statement does not mention."""

import json
import re
from collections.abc import Iterator
from typing import Any

_KINDS = {
    "outcome": ("purpose", "cycle_id"),
    "trajectory": ("purpose", "cycle_id"),
    "reaction": ("purpose", "cycle_id"),
    "search_outcome": ("cycle_id",),
    "evaluation_outcome": ("cycle_id", "policy", "simulator"),
    "human_outcome": ("cycle_id",),
    "fork_outcome": ("forked_id", "turn_index", "edited"),
    "evaluation": ("cycle_id", "policy", "simulator", "metric"),
    "sampled_turn": ("purpose", "cycle_id"),
}
"""Tables and views with rewards or turns, and the columns that separate their rows."""
_SEPARATE = {"reaction": "trajectory"}
"""Where the columns are, if not in the table itself."""
_UNEQUAL = """
select cycle_id
from (
    select cycle_id, simulator, policy, list(distinct scenario_id order by scenario_id) as scenarios
    from evaluation_outcome group by cycle_id, simulator, policy
)
group by cycle_id, simulator having count(distinct scenarios) > 1 order by cycle_id desc
"""
_AGGREGATE = re.compile(
    r"\b(avg|mean|median|mode|sum|min|max|stddev\w*|var\w*|quantile\w*|corr|regr_\w+|histogram)\s*\("
)


def mixed(connection: Any, sql: str) -> str | None:
    """A sentence about the rows that a statement takes together without mentioning it; None if there are none, or no figure is computed."""
    text = sql.lower()
    if not _AGGREGATE.search(text):
        return None
    (parsed,) = connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchone()
    read = set(_tables(json.loads(parsed)))
    words = set(re.findall(r"\w+", text))
    if "latest_cycle" in words:
        words.add("cycle_id")
    named = {name for name in read if name in _KINDS}
    if len(named) > 1:  # joined with what tells more of it
        named -= {"reaction"}
    parts = []
    for name in sorted(named):
        for column in _KINDS[name]:
            if column in words:
                continue
            table = _SEPARATE.get(name, name)
            values = connection.execute(f"select distinct {column} from {table} order by {column} limit 4").fetchall()
            if len(values) > 1:
                shown = [str(value) for (value,) in values[:3]] + (["…"] if len(values) > 3 else [])
                parts.append(f"{name} holds more than one {column} ({', '.join(shown)})")
    notes = []
    if parts:
        advice = "group by it, name one, or use search_outcome or evaluation_outcome"
        notes.append(f"note: these figures mix rows: {'; '.join(parts)}; {advice}")
    if "evaluation_outcome" in read and "policy" in words and "scenario_id" not in words:
        notes += _unequal_scenarios(connection, text, "latest_cycle" in words)
    return "\n".join(notes) or None


def _unequal_scenarios(connection: Any, text: str, latest: bool) -> list[str]:
    """A sentence if the policies of a cycle that the statement may read did not all talk in the same scenarios; empty otherwise."""
    newest = connection.execute("select cycle_id from latest_cycle").fetchall() if latest else []
    every = connection.execute("select cycle_id from cycle").fetchall()
    read = {*newest, *((cycle,) for (cycle,) in every if f"'{cycle.lower()}'" in text)}
    found = [cycle for (cycle,) in connection.execute(_UNEQUAL).fetchall() if not read or (cycle,) in read]
    if not found:
        return []
    return [
        f"note: the policies of cycle {found[0]} did not all talk in the same scenarios (judging and `engage compare` use different ones), so "
        "their means cannot be compared; `engage sql --name policy_gains` compares them on the scenarios that they share"
    ]


def _tables(parsed: Any) -> Iterator[str]:
    """Names of the tables and views that a statement reads, as it was parsed; views are not replaced by their tables."""
    if isinstance(parsed, dict):
        if parsed.get("type") == "BASE_TABLE":
            yield str(parsed.get("table_name", "")).lower()
        for part in parsed.values():
            yield from _tables(part)
    elif isinstance(parsed, list):
        for part in parsed:
            yield from _tables(part)
