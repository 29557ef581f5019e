"""The shipped scenarios as data: their number, all combinations of their axes, and no near duplicates."""

import re
from collections import Counter
from itertools import product
from typing import get_args

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from engage.domains import load_domain
from engage.scenario import SHIPPED, load_scenarios, read_scenarios, source_path

SCENARIOS = {name: load_scenarios([name]) for name in SHIPPED}
MOST_SHARED_PHRASES = 0.1
"""Jaccard index of two texts' sets of five consecutive words; a text with one word in ten replaced shares about half."""
MOST_ALIKE = 0.5
"""Cosine of two texts' tf-idf vectors over words; the same story told in other words shares its rare nouns."""


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def told(scenario) -> str:
    return scenario.user_condition.situation


def opened(scenario) -> str:
    return " ".join(turn.text for turn in scenario.opening.turns if turn.role == "user")


def alike_phrases(texts: list[str], limit: float) -> list[tuple[int, int]]:
    """Pairs of texts whose sets of word 5-grams have a Jaccard index above the limit."""
    grams = []
    for text in texts:
        said = words(text)
        grams.append({tuple(said[start : start + 5]) for start in range(max(1, len(said) - 4))})
    where: dict[tuple[str, ...], list[int]] = {}
    for index, own in enumerate(grams):
        for gram in own:
            where.setdefault(gram, []).append(index)
    shared = Counter(pair for found in where.values() for pair in product(found, found) if pair[0] < pair[1])
    return [(a, b) for (a, b), n in shared.items() if n / len(grams[a] | grams[b]) > limit]


def alike_words(texts: list[str], limit: float) -> list[tuple[int, int]]:
    """Pairs of texts whose tf-idf vectors have a cosine above the limit."""
    counts = [Counter(words(text)) for text in texts]
    seen_in = Counter(word for own in counts for word in own)
    column = {word: index for index, word in enumerate(seen_in)}
    rows, columns, values = [], [], []
    for row, own in enumerate(counts):
        for word, count in own.items():
            rows.append(row)
            columns.append(column[word])
            values.append((1 + np.log(count)) * np.log(len(texts) / seen_in[word]))
    matrix = csr_matrix((values, (rows, columns)), shape=(len(texts), len(column)))
    matrix = matrix.multiply(1 / np.maximum(np.sqrt(matrix.multiply(matrix).sum(axis=1)), 1e-12)).tocsr()
    cosine = np.triu((matrix @ matrix.T).toarray(), k=1)
    return [(int(a), int(b)) for a, b in np.argwhere(cosine > limit)]


@pytest.mark.parametrize("name", SHIPPED)
def test_there_are_at_least_300_scenarios_and_100_of_them_in_test(name):
    splits = Counter(scenario.split for scenario in SCENARIOS[name])
    assert splits.total() >= 300
    assert splits["test"] >= 100 and splits["train"] >= 100 and splits["validation"] >= 30


@pytest.mark.parametrize("name", SHIPPED)
def test_every_line_is_valid_and_its_opening_is_for_the_assistant_to_answer(name):
    loaded = read_scenarios(source_path(name))
    assert loaded.problems == []
    for scenario in loaded.scenarios:
        assert scenario.domain == name
        assert scenario.opening.turns[0].role is load_domain(name).opens


def axis(name: str, field: str) -> list[str]:
    """All values that the domain's user condition allows for a field."""
    literal = next(
        part for part in get_args(load_domain(name).condition_type.model_fields[field].annotation) if get_args(part)
    )
    return list(get_args(literal))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_difficulty_is_crossed_with_every_attitude(name):
    found = Counter((s.user_condition.difficulty, s.user_condition.attitude) for s in SCENARIOS[name])
    crossed = set(product(axis(name, "difficulty"), axis(name, "attitude")))
    assert len(crossed) >= 21
    assert set(found) == crossed


@pytest.mark.parametrize(
    ("name", "field"), [("emotional_support", "initial_intensity"), ("persuasion", "initial_inclination")]
)
def test_users_begin_at_many_points_of_the_scale(name, field):
    found = Counter(getattr(s.user_condition, field) for s in SCENARIOS[name])
    assert len(found) >= 4
    assert max(found.values()) <= 0.6 * len(SCENARIOS[name])


@pytest.mark.parametrize("tell", [told, opened])
@pytest.mark.parametrize("name", SHIPPED)
def test_no_two_scenarios_are_near_duplicates(name, tell):
    scenarios = SCENARIOS[name]
    texts = [tell(scenario) for scenario in scenarios]
    pairs = alike_phrases(texts, MOST_SHARED_PHRASES) + alike_words(texts, MOST_ALIKE)
    assert [(scenarios[a].scenario_id, scenarios[b].scenario_id) for a, b in pairs] == []


def test_the_check_finds_a_changed_word_and_a_changed_order():
    # 16 words, 12 five-grams each; another tenth word changes five of them: 7 shared of 12 + 5, Jaccard 0.41
    story = "My dog Bruno died on Sunday and the whole house has been silent ever since then"
    changed = story.replace("house", "flat")
    turned = "Ever since then the whole house has been silent: on Sunday Bruno, my dog, died"
    others = ["Our landlord sold the building while I was in hospital", "Nobody at the new school talks to my son"]
    texts = [story, changed, turned, *others]
    assert alike_phrases(texts, 0.4) == [(0, 1)] and alike_phrases(texts[:2], 0.42) == []
    assert alike_words(texts, MOST_ALIKE) == [(0, 1), (0, 2), (1, 2)]
