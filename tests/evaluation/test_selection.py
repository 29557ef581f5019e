"""Which of several candidates is the best, and what is said about it, on rewards given by hand."""

from types import SimpleNamespace

import pytest

from engage.dialogue import Role, Turn
from engage.errors import ConfigError
from engage.evaluation import Contender, HeldOutDialogue, hold_contest
from engage.grid import combinations

BASE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.2, 0.3]


class Held:
    """Stored dialogues: one a scenario and policy, with the `search` and a held-out simulator, rewards and words as given."""

    def __init__(self, rewards, words=None):
        self.rewards, self.words = rewards, words or {}
        self.scenarios = {f"s{i}": None for i in range(len(BASE))}
        self.cycle = SimpleNamespace(cycle_id="c")
        self.store = SimpleNamespace(rows=self._rows)

    def dialogues(self, label):
        held = [HeldOutDialogue(f"s{i}", 1, 2, None, value) for i, value in enumerate(self.rewards[label])]
        return {kind: {"persuasion": held} for kind in ("search", "held-out bare")}

    def replies(self, label, simulators):
        assert set(simulators) <= {"search", "held-out bare"}
        said = self.words.get(label, "a plain answer about tea")
        return {"persuasion": {f"s{i}": [Turn(Role.ASSISTANT, f"{said} {i}")] for i in range(len(BASE))}}

    def _rows(self, name, given):
        assert name == "evaluation_cost" and given == {"cycle": "c", "scenarios": list(self.scenarios)}
        return [
            {"policy": policy, "simulator": simulator, "dialogues": dialogues, "completion_tokens": written}
            for policy, simulator, dialogues, written in (
                ("base", "search", 8, 50.0),
                ("base", "held-out bare", 24, 10.0),
                ("base", "adversary brusque", 8, 900.0),  # of a comparison of policies in the same cycle
                ("up", "search", 8, None),
            )
        ]


def test_the_page_says_what_was_found_with_people():
    told = Contender("up", "up", "/up", people="association +0.03 [-0.05, +0.11], 69 dialogues of p4g")
    contenders = [Contender("base", "base", None), told]
    page = hold_contest(Held({"base": BASE, "up": shifted(0.2, 0.01)}), contenders, ["search"], "d1").page("Title")
    assert page.count("up, people: association +0.03 [-0.05, +0.11], 69 dialogues of p4g.") == 1
    assert "base, people" not in page


def contest(words=None, **rewards):
    names = [Contender("base", "base", None), *(Contender(name, name, f"/{name}") for name in rewards)]
    return hold_contest(Held({"base": BASE, **rewards}, words), names, ["search", "held-out bare"], "d1")


def shifted(by, wobble=0.0):
    return [value + by + wobble * (-1) ** i for i, value in enumerate(BASE)]


def test_the_best_has_the_highest_reward_with_the_held_out_simulator():
    found = contest(up=shifted(0.2, 0.01), little=shifted(0.05, 0.01), down=shifted(-0.05, 0.01))
    assert (found.best, found.deciding, found.scenarios) == ("up", "held-out bare", 8)
    assert found.winner.adapter == "/up"
    gain = found.gains["held-out bare"]["up"]
    assert gain.alone.difference == pytest.approx(0.2) and 0.18 < gain.low < 0.2 < gain.high < 0.22
    behind = found.behind["held-out bare"]
    assert {name: round(one.alone.difference, 6) for name, one in behind.items()} == {
        "base": -0.2,
        "little": -0.15,
        "down": -0.25,
    }
    assert found.answer().startswith("The best is up: reward +0.200 [") and "cannot be told apart" not in found.answer()


def test_where_nothing_is_sure_the_answer_says_so():
    found = contest(up=shifted(0.02, 0.3), other=shifted(0.01, -0.3))
    assert found.best == "up"
    assert "; this may be chance" in found.answer() and found.answer().endswith("It cannot be told apart from other.")


def test_no_candidate_above_the_first_is_no_best():
    found = contest(down=shifted(-0.1))
    assert found.best is None and found.winner is None and found.behind == {}
    assert found.answer() == "None is better than base on these 8 scenarios."
    assert "| down |" in found.page("Title")


def test_a_candidate_that_fails_a_check_is_not_the_best():
    found = contest({"long": "word " * 40}, long=shifted(0.2, 0.01), fair=shifted(0.1, 0.01))
    assert found.best == "fair"
    assert "replies went from 6 to 41 words" in found.failures["long"][0]
    assert "## Failed checks" in found.page("Title")


def test_the_figures_of_a_contender_are_those_of_the_compare_view():
    found = contest(up=shifted(0.2, 0.01))
    up, base = found.metrics("up"), found.metrics("base")
    assert up["reward"] == pytest.approx(0.525) and up["gain"] == up["gain_search"] == pytest.approx(0.2)
    assert up["gain_low"] < 0.2 < up["gain_high"]
    assert base["reward"] == pytest.approx(0.325) and "gain" not in base
    # (8 · 50 + 24 · 10) / 32 = 20; one unknown count makes a mean unknown
    assert base["dialogue_tokens"] == 20 and up["dialogue_tokens"] is None


def test_combinations_are_all_values_with_all_others():
    assert combinations(["align.dpo.learning_rate=[5e-5, 2e-4]", "pairs.min_q_gap=[0.1]"]) == {
        "learning_rate=5e-05 min_q_gap=0.1": ("align.dpo.learning_rate=5e-05", "pairs.min_q_gap=0.1"),
        "learning_rate=0.0002 min_q_gap=0.1": ("align.dpo.learning_rate=0.0002", "pairs.min_q_gap=0.1"),
    }
    assert list(combinations(["align.dpo.seed=[1, 2]", "align.sft.seed=[3]"])) == [
        "align.dpo.seed=1 align.sft.seed=3",
        "align.dpo.seed=2 align.sft.seed=3",
    ]


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        (["align.dpo.beta=0.1"], r"align.dpo.beta: a list|write a list of different values"),
        (["align.dpo.beta=[]"], "write a list of different values"),
        (["align.dpo.beta=[0.1, 0.1]"], "write a list of different values"),
        (["align.dpo.beta"], "write a list of different values"),
        (["align.dpo.beta=[0.1,"], "write a list of different values"),
        (["align.dpo.beta=[0.1]"], "1 combinations; from 2 to 64"),
        (["align.dpo.seed=[1,2,3,4,5,6,7,8,9]", "align.dpo.epochs=[1,2,3,4,5,6,7,8]"], "72 combinations"),
        (["align.dpo.beta=[1, 2]", "align.dpo.beta=[3, 4]"], "named twice"),
        (["align.processes=[1, 2]"], "--grid align.processes: it changes time and memory, but no result"),
        (["align.dpo.betta=[1, 2]"], r"did you mean align\.dpo\.beta"),
        (["search.num_simulations=[1, 2]"], "only settings of align and pairs can be compared"),
        (["=[1, 2]"], "only settings of align and pairs"),
    ],
)
def test_a_grid_that_cannot_be_compared_is_refused(grid, reason):
    with pytest.raises(ConfigError, match=reason):
        combinations(grid)
