"""What a cycle's searches have taken so far, read from the store."""

from engage.engines.base import total
from engage.search import Spent
from engage.store.trajectory_store import TrajectoryStore


def spent_by(store: TrajectoryStore, cycle_id: str) -> Spent:
    """What the cycle's stored trees took."""
    rows = store.rows("tree_cost", {"cycle": cycle_id})
    calls = [row["calls"] for row in rows]
    tokens = [total((row["prompt_tokens"], row["completion_tokens"])) if row["calls"] else 0 for row in rows]
    most = None if None in tokens else max((count for count in tokens if count is not None), default=0)
    return Spent(
        trees=len(rows),
        simulations=sum(row["simulations"] + row["withdrawn"] for row in rows),
        calls=sum(calls),
        tokens=total(tokens),
        most_calls=max(calls, default=0),
        most_tokens=most,
        longest_s=max((row["wall_s"] for row in rows), default=0.0),
    )
