"""What is told of Dask workers that come and go; the workers themselves: tests/integration/test_dask.py."""

from flows.cluster import change_of

ONE, TWO, SCHEDULER = "tcp://10.0.0.2:1", "tcp://10.0.0.3:1", "tcp://10.0.0.1:8786"


def gone(worker, expected=False, tasks=()):
    return {"action": "remove-worker", "worker": worker, "expected": expected, "processing-tasks": set(tasks)}


def test_every_change_is_told_once_and_the_last_lost_worker_says_what_to_do():
    alive = {ONE, TWO}
    assert change_of(gone(ONE, tasks=["a", "b"]), alive, SCHEDULER) == (
        f"Dask worker {ONE} is lost; its 2 shard(s) are searched again; 1 left."
    )
    assert change_of(gone(ONE), alive, SCHEDULER) is None
    assert change_of(gone(TWO, expected=True), alive, SCHEDULER) == (
        f"Dask worker {TWO} was stopped; none is left: the night waits; start one with `dask worker {SCHEDULER}`."
    )
    assert (
        change_of({"action": "add-worker", "worker": ONE}, alive, SCHEDULER)
        == f"Dask worker {ONE} has joined; 1 now search."
    )
    assert alive == {ONE}


def test_other_events_say_nothing():
    alive = {ONE}
    for event in ({"action": "retire-workers", "worker": ONE}, "text", None, {"action": "add-worker", "worker": ONE}):
        assert change_of(event, alive, SCHEDULER) is None
