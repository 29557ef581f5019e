"""The trajectory store: one DuckDB file, filled from the outbox, read by SQL.

Every method opens the file only while it works; StoreError if another program keeps it locked for longer than `wait_s`.
N, Q, evidence and pairs are computed from stored data: a change of reward or threshold needs no model call.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from engage.errors import ConfigError, ScenarioError
from engage.files.digest import digest
from engage.scenario import Scenario
from engage.stats import is_finite, shown
from engage.store.cycle import check_same
from engage.store.database import writing
from engage.store.drain import drain
from engage.store.measures import measured
from engage.store.outbox import Outbox
from engage.store.pair_config import PairConfig
from engage.store.pair_extraction import judge_pairs
from engage.store.queries import statement
from engage.store.reader import StoreReader, check_known


class TrajectoryStore(StoreReader):
    """The trajectory store, see the module. Cheap to create; calls share only the path."""

    def begin_cycle(
        self,
        cycle_id: str,
        config: Mapping[str, Any],
        absent: Mapping[str, Any] = MappingProxyType({}),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Register a cycle, or resume it; ConfigError names the keys that differ from its first configuration.

        `config` is JSON: everything that decides what the cycle collects. `absent` has the values of keys that one of the two lacks,
        because its version of engage does not know them. `settings` are all settings as JSON, for the stages that continue the cycle
        (None: those of before stay).
        """
        text = json.dumps(config, sort_keys=True, ensure_ascii=False)
        with writing(self.path, self.wait_s) as connection:
            known = connection.execute("select config from cycle where cycle_id = ?", [cycle_id]).fetchone()
            if known is None:
                now = datetime.now(UTC).replace(tzinfo=None)
                connection.execute(
                    "insert into cycle (cycle_id, config_hash, config, started_at) values (?, ?, ?, ?)",
                    [cycle_id, digest(config), text, now],
                )
            else:
                check_same(cycle_id, json.loads(known[0]), json.loads(text), absent)
            if settings is not None:
                kept = json.dumps(settings, sort_keys=True, ensure_ascii=False)
                connection.execute("update cycle set settings = ? where cycle_id = ?", [kept, cycle_id])

    def cycle_ids(self) -> list[str]:
        """All cycles, the latest first (in order of registration, because a clock may be set back); empty if there is no store yet."""
        if not self.path.exists():
            return []
        rows = self._read("select cycle_id from cycle order by rowid desc")[1]
        return [cycle_id for (cycle_id,) in rows]

    def latest_cycle(self) -> str | None:
        """The default cycle of queries and commands: the latest with dialogues, else the latest."""
        rows = self._read("select cycle_id from latest_cycle")[1] if self.path.exists() else []
        return rows[0][0] if rows else None

    def cycle_config(self, cycle_id: str) -> dict[str, Any] | None:
        """The cycle's first configuration; None for an unknown cycle, or if there is no store yet."""
        if not self.path.exists():
            return None
        rows = self._read("select config from cycle where cycle_id = $wanted", {"wanted": cycle_id})[1]
        return json.loads(rows[0][0]) if rows else None

    def cycle_settings(self, cycle_id: str) -> dict[str, Any] | None:
        """All settings that the cycle was last collected with; None for an unknown cycle, and for one of an engage that did not keep them."""
        if not self.path.exists():
            return None
        rows = self._read("select settings from cycle where cycle_id = $wanted", {"wanted": cycle_id})[1]
        return json.loads(rows[0][0]) if rows and rows[0][0] else None

    def add_scenarios(self, scenarios: Sequence[Scenario]) -> None:
        """Add new scenarios; ScenarioError for a known id with other content (nothing is added then)."""
        import pandas as pd

        frame = pd.DataFrame([_scenario_row(scenario) for scenario in scenarios])
        with writing(self.path, self.wait_s) as connection:
            if frame.empty:
                return
            connection.register("incoming_scenario", frame)
            changed = connection.execute(
                "select scenario_id from scenario join incoming_scenario as incoming using (scenario_id) "
                "where scenario.content_hash <> incoming.content_hash order by scenario_id"
            ).fetchall()
            if changed:
                raise ScenarioError(
                    f"scenario {changed[0][0]!r}: stored before with other content ({len(changed)} such scenarios); "
                    "give a changed scenario a new id"
                )
            connection.execute(
                "insert into scenario by name select * from incoming_scenario anti join scenario using (scenario_id)"
            )

    def drain(self, outbox: Outbox) -> int:
        """Move the outbox's files into the store; returns the numbers of new trees and dialogues (see `engage.store.drain`)."""
        return drain(outbox, self.path, self.wait_s)

    def stored_tree_ids(self, cycle_id: str) -> set[str]:
        """The cycle's trees in the database, without those in the outbox."""
        rows = self._read("select tree_id from tree where cycle_id = $cycle", {"cycle": cycle_id})[1]
        return {tree_id for (tree_id,) in rows}

    def stored_dialogues(self, cycle_id: str, purpose: str, policy: str, simulator: str, seed: int) -> set[str]:
        """Ids of the scenarios with such a dialogue in the database."""
        rows = self._read(
            "select scenario_id from trajectory where cycle_id = $cycle and purpose = $purpose and policy = $policy "
            "and simulator = $simulator and seed = $seed",
            {"cycle": cycle_id, "purpose": purpose, "policy": policy, "simulator": simulator, "seed": seed},
        )[1]
        return {scenario_id for (scenario_id,) in rows}

    def score_pairs(self, cycle_id: str, config: PairConfig) -> dict[str, int]:
        """Judge every pair of sibling replies again, replacing the cycle's earlier pairs.

        Counts: `candidates`, `accepted`, and those dropped by reason (the first that applies, in the order of
        sql/pairs/pair.sql). QueryError for an unknown cycle, ConfigError for a lexicon pattern that SQL cannot use.
        """
        with writing(self.path, self.wait_s) as connection:
            check_known(connection, "cycle", cycle_id)
            return judge_pairs(connection, cycle_id, config)

    def accepted_pairs(self, cycle_id: str) -> list[dict[str, Any]]:
        """The cycle's accepted pairs for `engage.training.pairs.read_pairs`: the columns of sql/pairs/accepted_pair.sql."""
        return [row for row in self.reviewed_pairs(cycle_id) if row["fault"] is None]

    def reviewed_pairs(self, cycle_id: str) -> list[dict[str, Any]]:
        """The cycle's accepted pairs, and those with a `fault`: most of their reviewers call them nonsense or harmful."""
        columns, rows = self._read(statement("pairs", "accepted_pair"), {"cycle": cycle_id})
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def earlier_pairs(self, cycle_id: str, count: int) -> list[dict[str, Any]]:
        """The last `count` cycles before this one, by domain, if they have accepted pairs: the columns of sql/pairs/earlier_pairs.sql."""
        columns, rows = self._read(statement("pairs", "earlier_pairs"), {"cycle": cycle_id, "count": count})
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def rescore(self, domain: str, reward_of: Callable[[float], float]) -> int:
        """Compute rewards and measures of a domain's stored survey values again; returns the number of changed rewards.

        Pairs are not judged again: `score_pairs` does. A value without a reward, which collecting counted as unreadable, stays so where
        `reward_of` has none in [0, 1]; ConfigError where there is one stored.
        """
        import pandas as pd

        of_domain = "trajectory_id in (select trajectory_id from outcome where domain = $domain)"
        with writing(self.path, self.wait_s) as connection:
            found = connection.execute(
                "select value, bool_or(reward is not null) from outcome where domain = $domain and value is not null "
                "group by value order by value",
                {"domain": domain},
            ).fetchall()
            known = [(value, _reward(domain, reward_of, value, required)) for value, required in found]
            rewards = [(value, reward) for value, reward in known if reward is not None]
            connection.register("incoming_reward", pd.DataFrame(rewards, columns=["value", "reward"], dtype="float64"))
            changed = connection.execute(
                "update reaction set reward = incoming_reward.reward from incoming_reward "
                f"where reaction.value = incoming_reward.value and {of_domain} "
                "and reaction.reward is distinct from incoming_reward.reward",
                {"domain": domain},
            ).fetchone()
            if changed[0]:  # what earlier cycles told was told in the rewards of that time
                connection.execute("delete from earlier_spread where domain = $domain", {"domain": domain})
            answers = connection.execute(
                "select trajectory_id, domain, user_condition, value from outcome where domain = $domain and value is not null",
                {"domain": domain},
            ).fetchall()
            connection.register("incoming_measure", measured(answers))
            connection.execute(
                "update reaction set measures = incoming.measures from incoming_measure as incoming "
                "where reaction.trajectory_id = incoming.trajectory_id and reaction.measures is distinct from incoming.measures"
            )
        return int(changed[0])

    def add_evaluation(
        self,
        cycle_id: str,
        split: str,
        policy: str,
        simulator: str,
        comparisons: Mapping[str, Mapping[str, Any]],
        ground: str | None = None,
    ) -> None:
        """Store a comparison's figures, domain to metric to number, replacing earlier ones under the same labels.

        `n` counts the scenarios behind all of them, `low` and `high` are the interval of `difference`; what is not a number
        is left out. `ground` is the digest of what they were measured on.
        """
        import pandas as pd

        labels = {"cycle_id": cycle_id, "split": split, "policy": policy, "simulator": simulator}
        rows = [
            {**labels, "ground": ground, **row}
            for domain, figures in comparisons.items()
            for row in _figures(domain, figures)
        ]
        with writing(self.path, self.wait_s) as connection:
            connection.execute(
                "delete from evaluation where cycle_id = $cycle_id and (split = $split or split is null) "
                "and policy = $policy and simulator = $simulator",
                labels,
            )
            if rows:
                connection.register("incoming_evaluation", pd.DataFrame(rows))
                connection.execute(
                    "insert into evaluation by name select *, utc_now() as stored_at from incoming_evaluation"
                )


def _reward(domain: str, reward_of: Callable[[float], float], value: float, required: bool) -> float | None:
    """The reward of a value; for one that is none in 0..1, None or (if it is required) ConfigError."""
    try:
        reward = reward_of(value)
        if not is_finite(reward) or not 0.0 <= reward <= 1.0:
            raise ConfigError(f"domain {domain!r}: the reward of {value:g} is {shown(reward)}, not in 0..1")
    except ConfigError:
        if required:
            raise
        return None
    return reward


def _scenario_row(scenario: Scenario) -> dict[str, Any]:
    condition = scenario.user_condition
    opening = [{"role": turn.role.value, "text": turn.text} for turn in scenario.opening.turns]
    return {
        "scenario_id": scenario.scenario_id,
        "content_hash": scenario.content_hash,
        "domain": scenario.domain,
        "split": scenario.split,
        "user_condition": condition.model_dump_json(exclude_none=True),
        "opening": json.dumps(opening, ensure_ascii=False),
        "source": scenario.source,
        "difficulty": condition.difficulty,
        "attitude": getattr(condition, "attitude", None),
    }


def _figures(domain: str, figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, value in figures.items():
        if metric in {"n", "low", "high"} or not is_finite(value):
            continue
        low, high = (figures.get("low"), figures.get("high")) if metric == "difference" else (None, None)
        yield {
            "domain": domain,
            "metric": metric,
            "value": float(value),
            "low": low,
            "high": high,
            "n": figures.get("n"),
        }
