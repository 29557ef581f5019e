"""The command `engage plan`."""

import json

from small_stores import filled, hand_dialogue, support_scenario

from engage.home import Home
from engage.store import write_snapshot

DIFFERENCES = {"s0": (0.0, 0.25), "s1": (0.25, 0.5)}


def evaluated(home):
    talks = [
        hand_dialogue(support_scenario(name, "validation"), 0.25 + gain * (policy != "base"), "c1", policy, "search", n)
        for name, gains in DIFFERENCES.items()
        for n, gain in enumerate(gains)
        for policy in ("base", "candidate-x")
    ]
    return filled(home, [support_scenario(name, "validation") for name in DIFFERENCES], dialogues=talks)


def test_a_home_without_an_evaluation_is_one_sentence(engage, own_home):
    code, _, said = engage("plan")
    assert (code, said) == (
        2,
        "no candidate has been evaluated yet in this home; run `engage nightly` or `engage evaluate` first\n",
    )
    assert not own_home.exists()


def test_a_gain_that_is_none_is_refused(engage):
    for gain in ("0", "1.5", "nan"):
        code, _, said = engage("plan", "--gain", gain)
        assert code == 2 and said.startswith(f"--gain {float(gain)}: is not over 0 and at most 1")


def test_table_and_json_say_the_same(engage, own_home):
    evaluated(own_home)
    _, out, _ = engage("plan", "--gain", "0.1", "--set", "evaluation.per_domain=2")
    _, found, _ = engage("plan", "--gain", "0.1", "--set", "evaluation.per_domain=2", "--json")
    plan = json.loads(found)
    assert plan["decides"]["spread"] == {"between": 0.015625, "within": 0.03125}
    first = plan["sizes"][0]
    assert out.startswith(
        "To show a true gain of 0.1 with a power of 80% (the 95% interval above 0, search simulator):"
    )
    assert [str(first["dialogues"]), str(first["scenarios"]), str(first["per_domain"]), str(first["talks"])] in [
        line.split()[:4] for line in out.splitlines()
    ]
    assert "0.125" in out and "0.177" in out  # the standard deviations
    assert f"The sources hold {sum(plan['sources'].values())} held-out scenarios" in out


def test_the_plan_reads_the_copy_alone_while_the_store_is_in_use(engage, own_home):
    evaluated(own_home)
    home = Home(own_home)
    write_snapshot(home.database, home.snapshot, 0.0)
    home.database.write_bytes(b"not to be opened")
    code, _, said = engage("plan", "--gain", "0.1")
    assert code == 0 and said.startswith("read from read.duckdb of "), said
