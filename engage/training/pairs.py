"""Preference pairs as training takes them: from the store, from human dialogues, mixed, and kept as one Parquet file.

Which sibling replies become pairs is decided in SQL (`TrajectoryStore.score_pairs`). Knows nothing of losses.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from engage.dialogue import Dialogue
from engage.domains import load_domain
from engage.errors import ScenarioError, StoreError
from engage.files.digest import digest
from engage.scenario import Split
from engage.simulation import policy_messages
from engage.store import TrajectoryStore, write_parquet

_HASH_KEY = b"engage.pair_set_hash"


@dataclass(frozen=True)
class PreferencePair:
    """Two replies to one prompt; `prompt` is the chat as the policy sees it, `{"role", "content"}` a message, system first.

    `q_gap` (in reward) and `p_greater` are the evidence from the search; None for pairs from human dialogues.
    """

    prompt: tuple[dict[str, str], ...]
    chosen: str
    rejected: str
    domain: str
    scenario_id: str
    source: Literal["search", "human"]
    q_gap: float | None = None
    p_greater: float | None = None


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


def read_pairs(store: TrajectoryStore, cycle_id: str) -> list[PreferencePair]:
    """The cycle's accepted pairs, in a stable order."""
    return [_search_pair(row) for row in store.accepted_pairs(cycle_id)]


def _search_pair(row: dict[str, Any]) -> PreferencePair:
    dialogue = Dialogue.of([*json.loads(row["opening"]), *row["turns"]])
    return PreferencePair(
        prompt=_prompt(row["domain"], dialogue),
        chosen=row["chosen"],
        rejected=row["rejected"],
        domain=row["domain"],
        scenario_id=row["scenario_id"],
        source="search",
        q_gap=row["q_gap"],
        p_greater=row["p_greater"],
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
            prompt = _prompt(reply.domain, reply.prefix)
            pairs.append(PreferencePair(prompt, human, sampled, reply.domain, reply.scenario_id, "human"))
    return pairs


def _prompt(domain: str, dialogue: Dialogue) -> tuple[dict[str, str], ...]:
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
    """SHA-256 of the training data: prompts, chosen and rejected replies; the order does not matter."""
    return digest(sorted(digest([pair.prompt, pair.chosen, pair.rejected]) for pair in pairs))


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
        ]
    )
