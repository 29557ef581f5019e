import dataclasses

import pytest

from engage.evaluation import HeldOutDialogue, compare_candidates, fixed_ground, ground_digest, validation_half
from engage.scenario import load_scenarios
from engage.stats import paired_comparison

SHIPPED = load_scenarios(["emotional_support", "persuasion"])
VALIDATION = [scenario for scenario in SHIPPED if scenario.split == "validation"]


def names(ground):
    return [scenario.scenario_id for scenario in ground.scenarios]


def test_the_halves_of_the_shipped_validation_split_are_pinned():
    promotion = [s.scenario_id for s in VALIDATION if validation_half(s) == "promotion"]
    assert {domain: sum(name.startswith(domain) for name in promotion) for domain in ("support", "persuasion")} == {
        "support": 28,
        "persuasion": 16,
    }
    assert promotion[:3] == ["support-0031", "support-0055", "support-0063"]


def test_the_half_is_a_matter_of_content_and_not_of_id_or_source():
    scenario = VALIDATION[0]
    moved = dataclasses.replace(scenario, scenario_id="other", source="elsewhere")
    assert validation_half(moved) == validation_half(scenario)


def test_the_ground_is_of_one_half_and_takes_the_domains_in_turn():
    ground = fixed_ground(SHIPPED, "promotion", 3)
    assert [s.domain for s in ground.scenarios] == ["emotional_support", "persuasion"] * 3
    assert {(s.split, validation_half(s)) for s in ground.scenarios} == {("validation", "promotion")}
    assert ground.remarks == ()
    assert not {*names(ground)} & {*names(fixed_ground(SHIPPED, "selection", 100))}


def test_a_larger_ground_contains_the_smaller_one_whatever_the_order_of_the_file():
    small, large = fixed_ground(SHIPPED, "promotion", 4), fixed_ground(SHIPPED[::-1], "promotion", 9)
    assert {*names(small)} < {*names(large)}
    assert {*names(fixed_ground(SHIPPED[::-1], "promotion", 4))} == {*names(small)}


def test_a_domain_with_fewer_scenarios_takes_what_is_there_and_says_so():
    ground = fixed_ground(SHIPPED, "promotion", 20)
    assert sum(s.domain == "persuasion" for s in ground.scenarios) == 16
    assert ground.remarks == (
        "persuasion: 16 of its scenarios are in the promotion half of the validation split, fewer than evaluation.per_domain = 20; "
        "all are used",
    )


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_file_too_small_to_be_halved_is_used_whole_and_says_so(count):
    few = [s for s in VALIDATION if s.domain == "persuasion"][:count]
    for half in ("selection", "promotion"):
        ground = fixed_ground(few, half, 50)
        assert {*names(ground)} == {s.scenario_id for s in few}
        assert ground.remarks == (
            f"persuasion: {count} of its scenarios are in the validation split, too few to keep a half for promotion alone; runs are "
            "chosen and promoted on the same ones",
        )


def test_without_a_validation_scenario_there_is_no_ground():
    assert fixed_ground([s for s in SHIPPED if s.split == "train"], "promotion", 8).scenarios == ()


def test_the_digest_tells_other_scenarios_users_and_settings_apart():
    one, other = VALIDATION[:3], VALIDATION[1:4]
    digest = ground_digest(one, {"search": "a"}, {"max_exchanges": 2})
    assert digest == ground_digest(one[::-1], {"search": "a"}, {"max_exchanges": 2})
    others = [
        ground_digest(other, {"search": "a"}, {"max_exchanges": 2}),
        ground_digest(one, {"search": "b"}, {"max_exchanges": 2}),
        ground_digest(one, {"search": "a"}, {"max_exchanges": 3}),
    ]
    assert len({digest, *others}) == 4


def test_candidates_are_compared_on_the_dialogues_that_all_have():
    def talks(*rewards, seed=1):
        return {"held-out": {"persuasion": [HeldOutDialogue(f"s{n}", seed, 2, None, r) for n, r in enumerate(rewards)]}}

    policies = {
        "a": talks(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        "b": talks(0.2, 0.2, 0.4, 0.4, 0.6, 0.6),
        "c": talks(0.1, 0.3, 0.3, 0.5, 0.5, 0.7, 0.7),
    }
    found = compare_candidates(policies, "held-out", "a")
    # s6 is left out, because b has no dialogue on it; half of the six differences are 0.1
    assert {name: (one.alone.n, round(one.alone.difference, 6)) for name, one in found.items()} == {
        "b": (6, 0.05),
        "c": (6, 0.05),
    }
    alone = paired_comparison({f"s{n}": 0.1 * n + 0.1 for n in range(6)}, {f"s{n}": 0.1 * n + 0.15 for n in range(6)})
    assert found["b"].low < alone.difference < found["b"].high  # type: ignore[operator]
    with pytest.raises(KeyError):
        compare_candidates(policies, "held-out", "d")
    other_seed = {**policies, "b": talks(0.2, 0.2, 0.4, 0.4, 0.6, 0.6, seed=2)}
    assert compare_candidates(other_seed, "held-out", "a")["c"].alone.n == 0
