"""Preference pairs as training takes them: from the store, from human dialogues, mixed, and kept as one Parquet file.

Which sibling replies become pairs is decided in SQL (`TrajectoryStore.score_pairs`). Knows nothing of losses.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

from engage.dialogue import Dialogue
from engage.domains import load_domain
from engage.errors import ScenarioError, StoreError
from engage.files.digest import digest
from engage.scenario import Split
from engage.simulation import policy_messages
from engage.stats import dawid_skene
from engage.store import PairConfig, TrajectoryStore, write_parquet

_HASH_KEY = b"engage.pair_set_hash"


@dataclass(frozen=True)
class PreferencePair:
    """Two replies to one prompt; `prompt` is the chat as the policy sees it, `{"role", "content"}` a message, system first.

    `q_gap` (in reward) and `p_greater` are the evidence from the search; None for pairs from human dialogues. `weight` in the loss, above 0;
    None: 1, unless all pairs of a training have none, and then nothing is weighted. `earlier_cycle` is the cycle whose search gave the pair,
    if it is not the training's own, and `earlier_policy` the champion's version at that time (None: there was none): the replies' values
    are those under that policy.
    """

    prompt: tuple[dict[str, str], ...]
    chosen: str
    rejected: str
    domain: str
    scenario_id: str
    source: Literal["search", "human"]
    q_gap: float | None = None
    p_greater: float | None = None
    weight: float | None = None
    earlier_cycle: str | None = None
    earlier_policy: str | None = None

    @property
    def source_name(self) -> str:
        """The pair's source, as an adapter's card names it."""
        if self.source == "human":
            return f"human:{self.domain}"
        if self.earlier_cycle is None:
            return "search"
        policy = (
            f"policy version {self.earlier_policy}" if self.earlier_policy else "the policy before the first champion"
        )
        return f"search:{self.earlier_cycle} (values under {policy})"


@dataclass(frozen=True)
class HumanReply:
    """A person's reply in a successful human dialogue, and the policy's reply at the same place.

    `prefix` ends with the user's turn; `split` is that of the dialogue's scenario.
    """

    domain: str
    scenario_id: str
    split: Split
    prefix: Dialogue
    human: str
    sampled: str


def read_pairs(store: TrajectoryStore, cycle_id: str, review_weights: bool = False) -> list[PreferencePair]:
    """The cycle's accepted pairs, in a stable order; with `review_weights` weighted by what reviewers judged, if anybody did."""
    return [pair for _, pair in _read(store, {cycle_id: store.accepted_pairs(cycle_id)}, review_weights)]


@dataclass(frozen=True)
class SearchPairs:
    """Accepted pairs of a cycle and of earlier ones.

    `left` maps an earlier cycle to the reason why its pairs, or those of a domain, are left out; `sources` maps scenario ids to sources.
    """

    own: list[PreferencePair]
    earlier: list[PreferencePair]
    left: Mapping[str, str]
    sources: Mapping[str, str]


def read_search_pairs(
    store: TrajectoryStore, cycle_id: str, config: PairConfig, collecting: Collection[str] = ()
) -> SearchPairs:
    """The accepted pairs of the cycles that `config.cycles` names, each two replies to a prompt once, as the latest cycle has them.

    Earlier pairs must satisfy the thresholds of `config`, too. Cycles that are still `collecting` are left out, and so are those in which
    the domain, the models or the dialogue settings differ, and those that were not judged again since the reward changed. What people
    call nonsense or harmful in one of the cycles is taken from no earlier one.
    """
    reviewed, policies = {cycle_id: store.reviewed_pairs(cycle_id)}, {}
    left: dict[str, list[str]] = {}
    for found in store.earlier_pairs(cycle_id, config.earlier) if config.earlier else ():
        name, domain = found["cycle_id"], found["domain"]
        if name in collecting:
            left[name] = ["not finished collecting"]
        elif not found["is_same"]:
            left.setdefault(name, []).append(f"{domain}: prompts, models or dialogue settings differ")
        elif not found["is_current"]:
            again = f"judged under another reward; `engage align --cycle {name}` judges them anew"
            left.setdefault(name, []).append(f"{domain}: {again}")
        else:
            policies[name] = found["policy"]
            reviewed.setdefault(name, []).extend(
                row
                for row in store.reviewed_pairs(name)
                if row["domain"] == domain and (row["fault"] or _passes(row, config))
            )
    rows = {name: [row for row in found if row["fault"] is None] for name, found in reviewed.items()}
    known = {_content(_search_pair(row, None)) for found in reviewed.values() for row in found if row["fault"]}
    own, earlier = [], []
    for name, pair in _read(store, rows, config.review_weights):
        if name == cycle_id:
            own.append(pair)
        elif _content(pair) not in known:
            earlier.append(replace(pair, earlier_cycle=name, earlier_policy=policies[name]))
        known.add(_content(pair))
    sources = {row["scenario_id"]: row["source"] for found in rows.values() for row in found}
    return SearchPairs(own, earlier, {name: "; ".join(reasons) for name, reasons in left.items()}, sources)


def _content(pair: PreferencePair) -> tuple[str, frozenset[str]]:
    """What makes two pairs the same one: the prompt and both replies, whichever is preferred; case and blanks do not matter."""
    return digest(pair.prompt), frozenset(text.strip().lower() for text in (pair.chosen, pair.rejected))


def _passes(row: Mapping[str, Any], config: PairConfig) -> bool:
    return bool(row["p_greater"] >= config.confidence and row["q_gap"] >= config.min_q_gap)


def _read(
    store: TrajectoryStore, by_cycle: Mapping[str, Sequence[dict[str, Any]]], review_weights: bool
) -> list[tuple[str, PreferencePair]]:
    """Rows as pairs, each with its cycle; the weights are estimated from what reviewers judged in all of the cycles."""
    rows = [(name, row) for name, found in by_cycle.items() for row in found]
    weights: Mapping[tuple[Any, ...], float] = {}
    if review_weights:
        judged = [one for name in by_cycle for one in store.rows("judged_pairs", {"cycle": name})]
        weights = _review_weights(judged, [row for _, row in rows])
    return [(name, _search_pair(row, weights.get(_key(row)))) for name, row in rows]


def _review_weights(judged: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], float]:
    """P(label right) of every pair among `rows`, by `_key`, from the decided judgements of any pair; empty without one.

    A pair that nobody judged has the estimated share of right labels.
    """
    votes: dict[tuple[Any, ...], dict[str, int]] = {}
    for one in judged:
        if one["verdict"] in ("chosen", "rejected"):
            votes.setdefault(_key(one), {})[one["reviewer"]] = int(one["verdict"] == "chosen")
    if not votes:
        return {}
    names = sorted({name for said in votes.values() for name in said})
    keys = list({**votes, **{_key(row): None for row in rows}})
    return dict(zip(keys, dawid_skene([[votes.get(key, {}).get(name) for name in names] for key in keys]), strict=True))


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["tree_id"], row["chosen_id"], row["rejected_id"]


def _search_pair(row: dict[str, Any], weight: float | None) -> PreferencePair:
    dialogue = Dialogue.of([*json.loads(row["opening"]), *row["turns"]])
    return PreferencePair(
        prompt=chat_prompt(row["domain"], dialogue),
        chosen=row["chosen"],
        rejected=row["rejected"],
        domain=row["domain"],
        scenario_id=row["scenario_id"],
        source="search",
        q_gap=row["q_gap"],
        p_greater=row["p_greater"],
        weight=weight,
    )


def human_pairs(replies: Sequence[HumanReply]) -> list[PreferencePair]:
    """Pairs with the human reply chosen and the policy's rejected; left out if one is empty or both are the same.

    ScenarioError for a dialogue outside the train split.
    """
    pairs = []
    for reply in replies:
        if reply.split != "train":
            raise ScenarioError(
                f"human dialogue {reply.scenario_id!r} is in the {reply.split} split: never train on it"
            )
        human, sampled = reply.human.strip(), reply.sampled.strip()
        if human and sampled and human.lower() != sampled.lower():
            prompt = chat_prompt(reply.domain, reply.prefix)
            pairs.append(PreferencePair(prompt, human, sampled, reply.domain, reply.scenario_id, "human"))
    return pairs


def chat_prompt(domain: str, dialogue: Dialogue) -> tuple[dict[str, str], ...]:
    """The `prompt` of a PreferencePair: the chat before the reply as the policy sees it."""
    messages = policy_messages(load_domain(domain), dialogue)
    return tuple({"role": message.role, "content": message.content} for message in messages)


def mix(
    search: Sequence[PreferencePair], human: Sequence[PreferencePair], ratio: float, seed: int
) -> list[PreferencePair]:
    """The search's pairs and `ratio` times as many human ones, sampled with the seed; all human ones if there are fewer."""
    wanted = min(len(human), human_count(len(search), ratio))
    return [*search, *Random(seed).sample(list(human), wanted)]


def human_count(search_pairs: int, ratio: float) -> int:
    """Number of human pairs for this number of search pairs."""
    return round(ratio * search_pairs)


def pair_set_hash(pairs: Sequence[PreferencePair]) -> str:
    """SHA-256 of the training data: prompts, chosen and rejected replies, and weights if there are any; the order does not matter."""
    return digest(sorted(digest([pair.prompt, pair.chosen, pair.rejected, *_weight(pair)]) for pair in pairs))


def _weight(pair: PreferencePair) -> list[float]:
    return [] if pair.weight is None else [pair.weight]


def save_pairs(pairs: Sequence[PreferencePair], path: Path) -> str:
    """Write the pairs as Parquet, atomically; returns `pair_set_hash`, which is also in the file."""
    import pyarrow as pa

    pair_hash = pair_set_hash(pairs)
    table = pa.Table.from_pylist([asdict(pair) for pair in pairs], schema=_schema())
    write_parquet(table.replace_schema_metadata({_HASH_KEY: pair_hash.encode()}), path)
    return pair_hash


def load_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file written by `save_pairs`; StoreError if it is missing, damaged or changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        pairs = [PreferencePair(**{**row, "prompt": tuple(row["prompt"])}) for row in table.to_pylist()]
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such pair set; extract the cycle's pairs first") from error
    except (pa.ArrowException, OSError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: not a pair set, or damaged; extract the cycle's pairs again") from error
    if (table.schema.metadata or {}).get(_HASH_KEY, b"").decode() != pair_set_hash(pairs):
        raise StoreError(f"{path}: the pairs are not those that were saved; extract the cycle's pairs again")
    return pairs


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    message = pa.struct([pa.field("role", text), pa.field("content", text)])
    return pa.schema(
        [
            ("prompt", pa.list_(message)),
            ("chosen", text),
            ("rejected", text),
            ("domain", text),
            ("scenario_id", text),
            ("source", text),
            ("q_gap", pa.float64()),
            ("p_greater", pa.float64()),
            ("weight", pa.float64()),
            ("earlier_cycle", text),
            ("earlier_policy", text),
        ]
    )
