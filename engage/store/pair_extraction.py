"""Judges all pairs of a cycle on an open connection, with the statements of sql/pairs/ in order."""

from collections.abc import Mapping
from typing import Any

from engage.domains import load_domain
from engage.domains.rules.deception_check import find_deceiving
from engage.domains.rules.patterns import any_of, plain
from engage.errors import ConfigError
from engage.models import strip_thoughts
from engage.simulation import leaks_role
from engage.store.pair_config import PairConfig, deceptive_patterns
from engage.store.queries import first_line, parameters_of, statement


def judge_pairs(connection: Any, cycle_id: str, config: PairConfig) -> dict[str, int]:
    """Replace the cycle's pairs; counts as `TrajectoryStore.score_pairs`. Leaves its temporary tables to the connection."""
    settings = {"cycle": cycle_id, **config.model_dump(exclude={"human_ratio", "review_weights", "cycles"})}
    patterns = _patterns(connection, cycle_id)
    connection.execute("delete from pair where cycle_id = $cycle", {"cycle": cycle_id})
    _register_rules(connection)
    _remember_earlier(connection, settings)
    _gather_candidates(connection, settings, patterns)
    _run(connection, "insert into pair by name", "pair", settings)
    rows = connection.execute(statement("pairs", "pair_count"), {"cycle": cycle_id}).fetchall()
    fates = dict(rows)
    return {"candidates": sum(fates.values()), "accepted": fates.pop("accepted", 0), **fates}


def _patterns(connection: Any, cycle_id: str) -> dict[str, str]:
    """One pattern per domain of the cycle, if it has any; a matching reply must not be trained on."""
    import duckdb

    domains = connection.execute(
        "select distinct scenario.domain from tree join scenario using (scenario_id) where cycle_id = ?", [cycle_id]
    ).fetchall()
    found = {domain: deceptive_patterns(domain) for (domain,) in domains}
    for domain, pattern in ((domain, pattern) for domain, patterns in found.items() for pattern in patterns):
        try:
            connection.execute("select regexp_matches('', ?, 'i')", [pattern]).fetchall()
        except duckdb.Error as error:
            raise ConfigError(
                f"domain {domain!r}: SQL cannot use the lexicon pattern {pattern!r}, write it without look-around "
                f"({first_line(error)})"
            ) from error
    return {domain: any_of(patterns) for domain, patterns in found.items() if patterns}


def _register_rules(connection: Any) -> None:
    """The rules for sampled turns as SQL functions, so that turns stored under older rules are judged by the present ones."""
    text, verdict = "VARCHAR", "BOOLEAN"
    connection.create_function(
        "leaks_role", lambda domain, reply: leaks_role(load_domain(domain), reply), [text, text], verdict
    )
    connection.create_function("plain_form", plain, [text], text)
    connection.create_function("has_thought", lambda reply: strip_thoughts(reply)[1], [text], verdict)


def _remember_earlier(connection: Any, settings: Mapping[str, Any]) -> None:
    """Store what earlier cycles show of the spread of values, for each domain of the cycle that has no such row; see sql/score/3_reply_value.sql."""
    _run(connection, "create temp table earlier_cycle as", "earlier_cycle", settings)
    known = connection.execute("select distinct cycle_id from earlier_cycle where cycle_id is not null").fetchall()
    earlier = [cycle_id for (cycle_id,) in known]
    _run(connection, "insert into earlier_spread by name", "earlier_spread", {**settings, "earlier": earlier})


def _gather_candidates(connection: Any, settings: Mapping[str, Any], patterns: Mapping[str, str]) -> None:
    """The tables that sql/pairs/pair.sql judges from; temporary, they go with the connection."""
    _run(connection, "create temp table candidate_pair as", "candidate_pair", settings)
    _run(connection, "create temp table candidate_reply as", "candidate_reply", settings)
    connection.execute("create temp table deceptive_reply (tree_id varchar not null, reply_id integer not null)")
    for domain, pattern in patterns.items():
        _run(connection, "insert into deceptive_reply", "deceptive_reply", {"domain": domain, "pattern": pattern})
    _check_replies(connection)


def _check_replies(connection: Any) -> None:
    """Add the replies that the deception check finds beside the rules."""
    texts: dict[str, list[str]] = {}
    for domain, text in connection.execute(statement("pairs", "unflagged_reply")).fetchall():
        texts.setdefault(domain, []).append(text)
    for domain, said in texts.items():
        if load_domain(domain).deception_check:
            found = [text for text, deceives in zip(said, find_deceiving(said), strict=True) if deceives]
            _run(connection, "insert into deceptive_reply", "checked_reply", {"domain": domain, "texts": found})


def _run(connection: Any, into: str, name: str, settings: Mapping[str, Any]) -> None:
    """A statement of sql/pairs/ with those of the settings that it names."""
    sql = statement("pairs", name)
    connection.execute(f"{into} {sql}", {key: settings[key] for key in parameters_of(sql)})
