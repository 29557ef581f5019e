"""The pairs of a cycle, computed with pandas: an independent implementation to test the project's SQL against.

It has the same rules as sql/score/ and sql/pairs/ (their comments give the reasons) and the same approximation of the normal distribution, so that figures
can be compared row by row.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from engage.domains import load_domain
from engage.domains.rules.deception_check import find_deceiving
from engage.domains.rules.patterns import any_of, matches_any
from engage.models import strip_thoughts
from engage.simulation import leaks_role
from engage.store import WAIT_S, PairConfig, TrajectoryStore, deceptive_patterns, reading

Frame = Any
SIBLINGS, BY_DOMAIN = ["tree_id", "decision_id"], ["domain"]
KEYS = ["tree_id", "chosen_id", "rejected_id"]
_SHRINKING_DF, _FLOOR = 4, 1e-6
_IMAGINED, _BOUNDARY = 20, 0.25
_LOADED = {
    "tree": "select tree_id, scenario_id from tree where cycle_id = $cycle",
    "scenario": "select scenario_id, domain, split, opening::varchar as opening from scenario",
    "node": "select tree_id, node_id, parent_id, kind, spine_index, role, text, flaw from node "
    "semi join tree on tree.tree_id = node.tree_id and tree.cycle_id = $cycle",
    "visit": "select tree_id, simulation, node_id from visit "
    "semi join tree on tree.tree_id = visit.tree_id and tree.cycle_id = $cycle",
    "trajectory": "select trajectory_id, tree_id, simulation, purpose, end_reason from trajectory where cycle_id = $cycle and tree_id is not null",
    "reaction": "select trajectory_id, reward from reaction",
}


def extract_pairs(store: TrajectoryStore, cycle_id: str, config: PairConfig) -> Frame:
    """A row per candidate pair, with `drop_reason`, "" for an accepted one."""
    with reading(store.path, WAIT_S) as connection:
        tables = {
            name: connection.execute(sql, {"cycle": cycle_id} if "$cycle" in sql else {}).df()
            for name, sql in _LOADED.items()
        }
    found = {name: deceptive_patterns(name) for name in tables["scenario"].domain.unique()}
    patterns = {name: any_of(of_domain) for name, of_domain in found.items() if of_domain}
    return _judge(_sibling_pairs(_reply_values(_evidence(tables))), tables, config, patterns)


def _evidence(tables: Mapping[str, Frame]) -> Frame:
    """A row per reply at a spine node: mean and variance over the mean rewards of its user turns."""
    node = tables["node"]
    decision = node.loc[node.spine_index.notna() & (node.kind == "decision"), ["tree_id", "node_id", "spine_index"]]
    decision = decision.rename(columns={"node_id": "decision_id"})
    child = node[["tree_id", "node_id", "parent_id"]]
    reply = decision.merge(child, left_on=["tree_id", "decision_id"], right_on=["tree_id", "parent_id"])
    reply = reply.rename(columns={"node_id": "reply_id"}).drop(columns="parent_id")
    turn = reply.merge(child, left_on=["tree_id", "reply_id"], right_on=["tree_id", "parent_id"]).drop(
        columns="parent_id"
    )
    reward = tables["trajectory"].merge(tables["reaction"].query("0 <= reward <= 1"), on="trajectory_id")
    seen = turn.merge(tables["visit"], on=["tree_id", "node_id"])
    seen = seen.merge(reward[["tree_id", "simulation", "reward"]], on=["tree_id", "simulation"])
    of_turn = ["tree_id", "decision_id", "spine_index", "reply_id", "node_id"]
    means = seen.groupby(of_turn, sort=False, as_index=False).reward.mean()
    of_reply = means.groupby(of_turn[:-1], sort=False, as_index=False)
    evidence = of_reply.reward.agg(["count", "mean", "var"])
    evidence = evidence.rename(columns={"count": "group_count", "mean": "q_mean", "var": "group_variance"})
    scenario = tables["tree"].merge(tables["scenario"][["scenario_id", "domain"]], on="scenario_id", how="left")
    return evidence[evidence.group_count >= 2].merge(scenario, on="tree_id")


def _reply_values(rows: Frame) -> Frame:
    """Shrunk values and their variances: sql/score/3_reply_value.sql."""
    freedom = rows.group_count - 1
    in_domain = rows.assign(freedom=freedom, squares=freedom * rows.group_variance).groupby(BY_DOMAIN, dropna=False)
    pooled = in_domain.squares.transform("sum") / in_domain.freedom.transform("sum")
    variance = (freedom * rows.group_variance + _SHRINKING_DF * pooled) / (freedom + _SHRINKING_DF)
    rows = rows.assign(mean_variance=variance.clip(lower=_FLOOR) / rows.group_count)
    siblings = rows.groupby(SIBLINGS).q_mean
    count = siblings.transform("size")
    deviation = (rows.q_mean - siblings.transform("mean")) ** 2 * count / (count - 1).where(count > 1)
    excess = (deviation - rows.mean_variance).groupby(rows.domain, dropna=False).transform("mean")
    noise = rows.groupby(BY_DOMAIN, dropna=False).mean_variance.transform("mean")
    own = (1 - 1 / count).groupby(rows.domain, dropna=False).transform("sum")
    degrees = own + _IMAGINED - _BOUNDARY  # of a cycle without earlier ones
    total = own * excess.fillna(0.0) + 2 * _BOUNDARY * noise
    between = (total + np.sqrt(total**2 + 4 * degrees * _BOUNDARY * noise**2)) / (2 * degrees)
    between = between.clip(lower=_FLOOR)
    weight = 1 / (between + rows.mean_variance)
    weighed = rows.assign(weight=weight, product=rows.q_mean * weight).groupby(SIBLINGS)
    total = weighed.weight.transform("sum")
    shrinkage = rows.mean_variance * weight
    return rows.assign(
        value_mean=((1 - shrinkage) * rows.q_mean + shrinkage * weighed["product"].transform("sum") / total).round(9),
        value_variance=shrinkage * between + shrinkage**2 / total,
        shared_error=shrinkage * np.sqrt(1 / total),
    )


def _sibling_pairs(values: Frame) -> Frame:
    """A row per pair of siblings; the better one is chosen, the earlier one if both are equal."""
    of_prefix = ["tree_id", "scenario_id", "domain", "decision_id", "spine_index"]
    figures = ["reply_id", "group_count", "q_mean", "value_mean", "value_variance", "shared_error"]
    both = values[of_prefix + figures].merge(values[[*SIBLINGS, *figures]], on=SIBLINGS, suffixes=("_a", "_b"))
    better = (both.value_mean_a > both.value_mean_b) | (
        (both.value_mean_a == both.value_mean_b) & (both.reply_id_a < both.reply_id_b)
    )
    both = both[better]
    gap = both.value_mean_a - both.value_mean_b
    spread = both.value_variance_a + both.value_variance_b - 2 * both.shared_error_a * both.shared_error_b
    names = {"reply_id_a": "chosen_id", "reply_id_b": "rejected_id", "group_count_a": "chosen_groups"}
    return both.assign(
        q_gap=gap.round(9),
        q_gap_raw=(both.q_mean_a - both.q_mean_b).round(9),
        p_greater=_normal_cdf(gap / np.sqrt(spread)).round(9),
    )[
        [*of_prefix, "reply_id_a", "reply_id_b", "group_count_a", "group_count_b", "q_gap", "q_gap_raw", "p_greater"]
    ].rename(columns={**names, "group_count_b": "rejected_groups"})


def _normal_cdf(z: Frame) -> Frame:
    """Abramowitz & Stegun 26.2.17, as sql/schema/20_normal_tail.sql."""
    t = 1 / (1 + 0.2316419 * z.abs())
    polynomial = 0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    tail = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * t * polynomial
    return tail.where(z < 0, 1 - tail)


def _judge(pairs: Frame, tables: Mapping[str, Frame], config: PairConfig, patterns: Mapping[str, str]) -> Frame:
    """Accepted or the first reason against a pair: sql/pairs/pair.sql."""
    replies = _judged_replies(pairs, tables["node"], patterns)
    troubled = tables["trajectory"].query("purpose == 'search' and end_reason == 'crisis'")[["tree_id", "simulation"]]
    troubled = troubled.merge(tables["visit"], on=["tree_id", "simulation"])[["tree_id", "node_id"]].drop_duplicates()
    replies = replies.merge(troubled.assign(troubled=True), on=["tree_id", "node_id"], how="left")
    replies["troubled"] = replies.troubled.notna()
    for side in ("chosen", "rejected"):
        named = replies.rename(
            columns={name: f"{side}_{name}" for name in replies.columns if name not in {"tree_id", "domain"}}
        )
        named = named.rename(columns={f"{side}_node_id": f"{side}_id"}).drop(columns="domain")
        pairs = pairs.merge(named, on=["tree_id", f"{side}_id"], how="left")
    pairs = pairs.merge(tables["scenario"][["scenario_id", "split", "opening"]], on="scenario_id", how="left")
    reasons = {
        "not_train": pairs.split != "train",
        "min_groups": np.minimum(pairs.chosen_groups, pairs.rejected_groups) < config.min_groups,
        "gap": (pairs.q_gap < config.min_q_gap) | (pairs.q_gap <= 0),
        "confidence": pairs.p_greater < config.confidence,
        "empty": pairs.chosen_empty | pairs.rejected_empty,
        "same_text": pairs.chosen_said == pairs.rejected_said,
        "flawed": pairs.chosen_flawed,
        "thought": pairs.chosen_thinks | pairs.rejected_thinks,
        "role_leak": pairs.chosen_leaks | pairs.rejected_leaks,
        "deceptive": pairs.chosen_deceptive,
        "crisis": pairs.chosen_troubled,
    }
    met = [reason.to_numpy(dtype=bool) for reason in reasons.values()]
    pairs = pairs.assign(drop_reason=np.select(met, list(reasons), default=""))
    left = pairs[pairs.drop_reason == ""]
    by = {"p_greater": False, "q_gap": False, "chosen_said": True, "rejected_said": True, "chosen_id": True}
    ranked = left.sort_values([*by, "rejected_id"], ascending=[*by.values(), True])
    place = ranked.groupby(SIBLINGS).cumcount()
    pairs.loc[ranked.index[place >= config.max_pairs_per_prefix], "drop_reason"] = "per_prefix"
    kept = ranked[place < config.max_pairs_per_prefix]
    pairs.loc[_copies(kept, tables["node"]), "drop_reason"] = "duplicate"
    columns = [
        *KEYS,
        "decision_id",
        "chosen_groups",
        "rejected_groups",
        "q_gap",
        "q_gap_raw",
        "p_greater",
        "drop_reason",
    ]
    return pairs[columns]


def _judged_replies(pairs: Frame, node: Frame, patterns: Mapping[str, str]) -> Frame:
    """A row per reply of the pairs: its text for comparisons, and the reason against it."""
    sides = [
        pairs[["tree_id", "domain", f"{side}_id"]].set_axis(["tree_id", "domain", "node_id"], axis=1)
        for side in ("chosen", "rejected")
    ]
    replies = (
        pd.concat(sides)
        .drop_duplicates()
        .merge(node[["tree_id", "node_id", "text", "flaw"]], on=["tree_id", "node_id"])
    )
    said = replies.text.str.strip(" ").str.lower()
    deceptive = np.zeros(len(replies), dtype=bool)
    for domain, pattern in patterns.items():
        of_domain = (replies.domain == domain).to_numpy()
        deceptive[of_domain] = [matches_any([pattern], text) for text in said[of_domain]]
    checked = np.array([load_domain(domain).deception_check for domain in replies.domain], dtype=bool)
    deceptive |= checked & np.array(find_deceiving(said.to_list()), dtype=bool)
    return replies.assign(
        said=said,
        empty=[not any(map(_is_said, text)) for text in replies.text],
        flawed=replies.flaw.notna(),
        thinks=[strip_thoughts(text)[1] for text in replies.text],
        leaks=[
            leaks_role(load_domain(domain), text) for domain, text in zip(replies.domain, replies.text, strict=True)
        ],
        deceptive=deceptive,
    ).drop(columns=["text", "flaw"])


def _is_said(character: str) -> bool:
    """Whether the text has a letter, a digit, or a symbol such as an emoji."""
    kind = unicodedata.category(character)
    return kind[0] in "LN" or kind == "So"


def _copies(kept: Frame, node: Frame) -> Frame:
    """Index of kept pairs with the same dialogue and texts as a better pair of another tree."""
    root = node.loc[node.spine_index.notna(), ["tree_id", "node_id", "parent_id", "spine_index", "text"]]
    reply = node[["tree_id", "node_id", "text"]].rename(columns={"node_id": "parent_id", "text": "reply_text"})
    spine = root.merge(reply, on=["tree_id", "parent_id"], how="left")
    exchange = (spine.reply_text.fillna("") + "\x1f" + spine.text.fillna("")).where(spine.spine_index > 0, "")
    # a column per exchange; those after the pair's own prefix are blanked, so that equal rows are equal prefixes
    wide = spine.assign(exchange=exchange).pivot(index="tree_id", columns="spine_index", values="exchange")
    prefix = wide.reindex(kept.tree_id).reset_index(drop=True)
    later = prefix.columns.to_numpy()[None, :] > kept.spine_index.to_numpy()[:, None]
    prefix = prefix.mask(later, "").fillna("")
    prefix.columns = [f"exchange{index}" for index in range(prefix.shape[1])]
    same = ["domain", "opening", "chosen_said", "rejected_said"]
    rows = pd.concat([kept[[*same, "p_greater", "q_gap", "tree_id"]].reset_index(drop=True), prefix], axis=1)
    ordered = rows.assign(place=kept.index).sort_values(
        ["p_greater", "q_gap", "tree_id"], ascending=[False, False, True]
    )
    return ordered.loc[ordered.duplicated([*same, *prefix.columns]), "place"]
