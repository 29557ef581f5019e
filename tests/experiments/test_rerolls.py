"""Fresh rollouts on scripted speakers: what a pair takes, what is kept, and what a second run asks for."""

import asyncio

import pytest
from scripted_scenarios import SUPPORT, rewarding

from engage.dialogue import Role, Turn
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.errors import EngineError, StoreError
from engage.experiments import KeptRollouts, Roller, SpokenReply, ValueCheckConfig
from engage.search import Adapters
from engage.simulation import DialogueConfig

GOOD, BAD = "What was he like?", "Dogs die."
CHECK = ValueCheckConfig(rollouts=8, turns=3, below=2)


def said(text):
    return SpokenReply(SUPPORT, SUPPORT.opening, text, 0)


PAIR = (said(GOOD), said(BAD))


def roller(engine, kept, seed=7):
    return Roller(engine, DialogueConfig(max_exchanges=1), Adapters(), seed, kept)


def rolled(engine, folder, pairs=(PAIR,), check=CHECK, kept=None):
    """The rollouts kept after all pairs, and the names of what failed; saved as a task does."""
    kept = kept or KeptRollouts(folder / "rollouts.parquet")
    try:
        outcome = asyncio.run(roller(engine, kept).pairs(pairs, check, lambda _: None))
    finally:
        kept.save()
    return kept, outcome


class Counting(ScriptedEngine):
    """Speaks as `rewarding(GOOD)` and counts the user turns drawn; fails once `budget` of them are spent."""

    def __init__(self, budget=10**9):
        self.drawn, self.budget = [], budget
        inner = rewarding(GOOD)
        super().__init__(self._count, inner._choose)
        self._inner = inner

    def _count(self, prompt, seed):
        if prompt.side is Side.SIMULATOR:
            if len(self.drawn) >= self.budget:
                raise EngineError("the model is out of order", prompt.key)
            self.drawn.append(seed)
        return self._inner._reply(prompt, seed)


def test_both_replies_of_a_pair_are_rolled_out(tmp_path):
    kept, _ = rolled(Counting(), tmp_path)
    # The survey says 1 (reward 1) where GOOD was said and 5 (reward 0) where it was not.
    assert kept.rewards(PAIR[0], 8) == [[pytest.approx(1.0)]] * 8
    assert kept.rewards(PAIR[1], 8) == [[pytest.approx(0.0, abs=1e-6)]] * 8
    assert len(kept) == 16


def test_two_replies_share_no_random_numbers(tmp_path):
    engine = Counting()
    rolled(engine, tmp_path)
    assert len(set(engine.drawn)) == len(engine.drawn) == 16


def test_a_second_run_asks_for_nothing(tmp_path):
    first, _ = rolled(Counting(), tmp_path)
    engine = Counting()
    second, _ = rolled(engine, tmp_path)
    assert engine.drawn == []
    assert [second.rewards(reply, 8) for reply in PAIR] == [first.rewards(reply, 8) for reply in PAIR]


def test_what_was_rolled_out_before_a_failure_is_kept_and_the_next_run_adds_the_rest(tmp_path):
    kept, outcome = rolled(Counting(budget=10), tmp_path)
    assert len(kept) == 10
    assert None in [kept.rewards(reply, 8) for reply in PAIR]
    assert list(outcome.failed) == ["s1"] and "out of order" in outcome.failed["s1"]
    engine = Counting()
    kept, outcome = rolled(engine, tmp_path)
    assert (len(engine.drawn), len(kept), outcome.failed) == (6, 16, {})


def test_pairs_that_share_a_reply_roll_it_out_once(tmp_path):
    engine = Counting()
    kept, _ = rolled(engine, tmp_path, [PAIR, (said(GOOD), said("All dogs die."))])
    assert len(engine.drawn) == len(kept) == 24


def test_further_rollouts_of_a_reply_leave_the_first_as_they_were(tmp_path):
    kept, _ = rolled(Counting(), tmp_path)
    before = kept.rewards(PAIR[0], 8)
    more = ValueCheckConfig(turns=12, below=2)
    asyncio.run(roller(Counting(), kept).replies([PAIR[0]], more, lambda _: None))
    assert kept.rewards(PAIR[0], 8) == before


def test_the_noise_floor_rolls_out_several_times_through_each_user_turn(tmp_path):
    kept = KeptRollouts(tmp_path / "rollouts.parquet")
    reply, engine = said(BAD), Counting()
    talk = Roller(engine, DialogueConfig(max_exchanges=2), Adapters(), 7, kept)
    asyncio.run(talk.replies([reply], CHECK, lambda _: None))
    assert [len(turn) for turn in kept.rewards(reply, 3, 2)] == [2, 2, 2]
    # 3 user turns after the reply, and one in each of the 6 rollouts below them
    assert len(engine.drawn) == 3 + 6
    texts = [{kept._found[reply.key, turn, below].user_text for below in (0, 1)} for turn in range(3)]
    assert [len(text) for text in texts] == [1, 1, 1]


def test_a_reply_is_rolled_out_with_the_user_that_its_tree_drew(tmp_path):
    users = set()

    def reply(prompt, seed):
        users.update({prompt.adapter} if prompt.side is Side.SIMULATOR else ())
        return f"Well, {seed}."

    kept = KeptRollouts(tmp_path / "rollouts.parquet")
    for seed, wanted in ((7, ""), (3, "/adapter")):  # of the cycle: scenario s1 draws bare under 7, embedded under 3
        adapters = Adapters(drawn={"bare": "", "embedded": "/adapter"})
        talk = Roller(ScriptedEngine(reply), DialogueConfig(max_exchanges=1), adapters, seed, kept)
        asyncio.run(talk.replies([said(f"{GOOD} {seed}")], CHECK, lambda _: None))
        assert users == {wanted}
        users.clear()


def test_a_second_rollout_goes_through_the_user_turn_that_is_kept(tmp_path):
    kept, _ = rolled(Counting(), tmp_path)
    engine = Counting()
    asyncio.run(roller(engine, kept).replies([PAIR[0]], CHECK, lambda _: None))
    assert engine.drawn == []  # one exchange: below the user turn there is the survey alone
    assert kept.rewards(PAIR[0], 3, 2) == [[pytest.approx(1.0)] * 2] * 3


def test_another_reply_or_prefix_has_another_key():
    longer = SUPPORT.opening.add(Turn(Role.ASSISTANT, "Hm.")).add(Turn(Role.USER, "Yes."))
    keys = {said(GOOD).key, said(BAD).key, SpokenReply(SUPPORT, longer, GOOD, 1).key}
    assert len(keys) == 3


def test_a_file_that_is_none_of_ours_is_named(tmp_path):
    path = tmp_path / "rollouts.parquet"
    path.write_text("nothing")
    with pytest.raises(StoreError, match=r"rollouts\.parquet: not a file of fresh rollouts"):
        KeptRollouts(path)
