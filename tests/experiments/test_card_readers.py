import pytest
from card_dialogues import persuadee

from engage.dialogue import Reaction
from engage.experiments.simulator_card.asking import Answers, Cost
from engage.experiments.simulator_card.readers import cost_figures, favoured, reader_figures
from engage.stats import Estimate

HUMANS = [persuadee(0, 0.0), persuadee(1, 0.5), persuadee(2, 2.0)]


def answers(expected, pattern, reader="expected"):
    ids = [human.scenario_id for human in HUMANS]
    return Answers(
        {name: Reaction(reader, "", value) for name, value in zip(ids, expected, strict=True)},
        {name: tuple(Reaction("pattern", "", v) for v in values) for name, values in zip(ids, pattern, strict=True)},
    )


def test_pattern_is_measured_against_expected():
    found = reader_figures(HUMANS, answers([0.5, 1.0, 1.5], [(0.5, 1.0), (1.0, None), (None, None)]))
    # three of six answers
    assert found["unreadable"].value == 0.5
    # means 0.75 against 0.5, 1.0 against 1.0; the third has no answer
    assert found["pattern_bias"].value == pytest.approx(0.125)
    # 0.5 and 1.0 vary by 0.125; the second dialogue has one answer
    assert found["pattern_noise"].value == pytest.approx(0.125)
    # (0 + 0.25) / 2 and 0
    assert found["pattern_distance"].value == pytest.approx(0.0625)
    # outcomes 0 and 0.5: both readers rank them right
    assert (found["spearman_expected"].value, found["spearman_gain"].value) == (pytest.approx(1.0), 0.0)


def test_where_no_likelihoods_are_told_the_readers_are_not_compared():
    found = reader_figures(HUMANS, answers([0.5, 1.0, 1.5], [(0.5,)] * 3, reader="pattern"))
    assert found["unreadable"].value == 0.0 and found["pattern_bias"].value is None
    assert "cannot be compared" in favoured(found)


def test_costs_are_those_of_one_dialogue():
    found = cost_figures(Cost(4, 400, 100, 40, 2.0), 4)
    assert {name: one.value for name, one in found.items()} == {
        "calls": 1.0,
        "prompt_tokens": 100.0,
        "reused_tokens": 25.0,
        "completion_tokens": 10.0,
        "seconds": 0.5,
    }
    assert cost_figures(Cost(), 4) == {}


SURE, OPEN = Estimate(0.4, 0.2, 0.6, 9), Estimate(0.0, -0.2, 0.2, 9)


@pytest.mark.parametrize(
    ("rank", "gain", "noise", "lost", "sentence"),
    [
        (SURE, Estimate(0.3, 0.1, 0.5, 9), 0.04, 0.1, "`expected` is favoured: it ranks"),
        (SURE, Estimate(-0.3, -0.5, -0.1, 9), 0.04, 0.1, "`pattern` is favoured: one sampled"),
        (SURE, OPEN, 0.04, 0.0, "better than the other beyond doubt; `expected` is favoured, because it adds no noise"),
        (SURE, OPEN, 0.0, 0.0, "nothing favours one"),
        # a reader that ranks the wrong way round is not worse for doing so more clearly
        (
            Estimate(-0.4, -0.6, -0.2, 9),
            Estimate(-0.3, -0.5, -0.1, 9),
            0.04,
            0.1,
            "so that they cannot decide; `expected`",
        ),
    ],
)
def test_the_evidence_decides_between_the_readers(rank, gain, noise, lost, sentence):
    figures = {"spearman_expected": rank, "spearman_gain": gain}
    assert sentence in favoured(figures | {"pattern_noise": Estimate(noise, n=9), "unreadable": Estimate(lost, n=9)})
