"""`engage experiment people` without its flow: which dialogues, which pairs, whose likelihoods, and what the page says."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from people_corpus import read_all, scores, write_people
from tiny_models import make_pairs, save_adapter

from engage.corpora import read_corpus, read_shipped
from engage.domains import load_domain
from engage.errors import ConfigError, ModelError, NothingSearched
from engage.experiments.people import page as pages
from engage.experiments.people.figures import people_figures
from engage.experiments.people.null import Aligned, aligned, swapped
from engage.experiments.people.plan import PeopleConfig, achieved, human_turns, read_people, sample_of
from engage.experiments.people.scores import KeptScores, reply_rows, score_replies
from engage.experiments.simulator_card.perplexity import Likelihood
from engage.models import AdapterCard, ChatTemplate, DataSource, adapter_fingerprint, adapter_folder, resolve_model
from engage.training import AlignConfig, drawn_pairs, pair_set_hash, set_aside


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("p4g"))


@pytest.fixture(scope="module")
def people(corpus):
    """With only a few dialogues of the train split, for speed."""
    found = read_all(corpus)
    return replace(found, train=found.train[:15])


def test_only_dialogues_that_nothing_was_trained_on_are_scored(corpus):
    people = read_all(corpus)
    assert len(people.scored) >= 10 and {human.split for human in people.scored} == {"validation"}
    assert len(people.train) >= 40 and {human.split for human in people.train} == {"train"}
    assert {human.split for human in read_all(corpus, split="test").scored} == {"test"}
    few = read_all(corpus, max_dialogues=10)
    assert len(few.scored) == 10 and set(few.scored) < set(people.scored)
    tested = sum(human.split == "test" for human in read_corpus(corpus).dialogues)
    assert few.left == {"test split": tested, "over the maximum of scored dialogues": len(people.scored) - 10}


def test_what_is_known_of_a_reply_before_it_is_said(people):
    turn = human_turns(people.scored)[2]
    assert (turn.number, turn.prefix.turns[-1].text.split()[:2]) == (3, ["I", "have"])
    sample = sample_of([turn])
    assert sample.covariates.prefixes[0].split()[:2] == ["a:would", "a:you"]
    assert sample.covariates.prefixes[0].split()[-1] == "u:cats"
    assert sample.covariates.numbers[0] == pytest.approx([3, np.log(3), turn.words, np.log1p(turn.words), 0.0])
    assert sample.target[0] == achieved(turn.human) == turn.human.outcome / 2


def test_support_achieves_the_fall_of_intensity():
    support = load_domain("emotional_support")
    condition = support.condition_type(person="p", situation="s", emotion="sad", problem="x", initial_intensity=5)
    assert (support.achieved(condition, 2.0), support.reward(2.0)) == (0.75, 0.75)
    milder = condition.model_copy(update={"initial_intensity": 3})
    assert (support.achieved(milder, 2.0), support.reward(2.0)) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("settings", "domains", "sentence"),
    [
        ({}, {"emotional_support"}, "its dialogues are of persuasion, the policy's pairs of emotional_support"),
        ({"max_dialogues": 9}, {"persuasion"}, "9 dialogues of the validation split can be scored"),
        ({"corpus": "shipped"}, {"persuasion"}, "adapters are trained on these dialogues"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused(corpus, settings, domains, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_people(PeopleConfig(**{"corpus": corpus, **settings}), domains)


@pytest.mark.parametrize(("gift", "sentence"), [("", "0 dialogues"), ("0.5", "with 1 different outcomes")])
def test_a_corpus_without_outcomes_is_refused(tmp_path, gift, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_all(write_people(tmp_path, gift=gift))


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return resolve_model(str(tiny_model))


def test_a_replys_likelihood_is_that_after_its_own_prompt(tiny, tiny_model, people, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engage.simulation import policy_messages

    adapter = str(save_adapter(tiny_model, tmp_path / "adapter"))
    found = {}
    for name in ("", adapter):
        kept = KeptScores.of(tmp_path / "scores", tiny, name, "persuasion", 4096)
        score_replies(people.scored[:3], tiny, name, 4096, kept)
        found[name] = kept.read()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny.path), AutoTokenizer.from_pretrained(tiny.path)
    template = ChatTemplate(tokenizer)
    for human in people.scored[:3]:
        assert list(found[""][human.scenario_id]) == [1, 2, 3]
        for turn, index in zip(human_turns([human]), (2, 4, 6), strict=True):
            messages = [
                {"role": message.role, "content": message.content}
                for message in policy_messages(load_domain(human.domain), turn.prefix)
            ]
            prompt, (reply,) = template.encode(messages, human.dialogue.turns[index].text)
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
            nats = -sum(logprobs[len(prompt) + n - 1, token].item() for n, token in enumerate(reply))
            one = found[""][human.scenario_id][turn.number]
            assert one.tokens == len(reply) and one.nats == pytest.approx(nats, rel=1e-4)
            assert abs(found[adapter][human.scenario_id][turn.number].nats - nats) > 0.01  # float32 is exact to 0.001


def test_a_reply_after_the_longest_chat_has_no_score(tiny, people):
    from transformers import AutoTokenizer

    template = ChatTemplate(AutoTokenizer.from_pretrained(tiny.path))
    ((row, numbers),) = reply_rows(people.scored[0], template, 4096)
    ((cut, first),) = reply_rows(people.scored[0], template, len(row["input_ids"]) - 1)
    assert (numbers, first) == ([1, 2, 3], [1, 2])
    assert cut["input_ids"] == row["input_ids"][: len(cut["input_ids"])]


def test_what_a_kill_left_is_not_scored_again(tiny, people, tmp_path):
    kept = KeptScores(tmp_path / "scores.jsonl")
    first, second = people.scored[:2]
    kept.add({first.scenario_id: {1: Likelihood(2.5, 7)}})
    with kept.path.open("a") as file:
        file.write(f'["{second.scenario_id}", [[1, 2.')  # killed while it wrote
    done = []
    score_replies([first, second], tiny, "", 4096, kept, done.append)
    assert done == [1, 1]
    found = kept.read()
    assert found[first.scenario_id] == {1: Likelihood(2.5, 7)}
    assert sorted(found[second.scenario_id]) == [1, 2, 3]


def test_a_coin_swaps_about_half_of_the_pairs_and_the_same_ones_again():
    pairs = make_pairs(200)
    first, again, second = swapped(pairs, 0, 1), swapped(pairs, 0, 1), swapped(pairs, 0, 2)
    flips = [(one.chosen, one.rejected) == (pair.rejected, pair.chosen) for one, pair in zip(first, pairs, strict=True)]
    assert 75 <= sum(flips) <= 125 and first == again
    others = [one.chosen != pair.chosen for one, pair in zip(second, pairs, strict=True)]
    assert 75 <= sum(a != b for a, b in zip(flips, others, strict=True)) <= 125
    assert [{one.chosen, one.rejected} for one in first] == [{pair.chosen, pair.rejected} for pair in pairs]
    backwards = swapped(pairs[::-1], 0, 1)
    assert backwards[::-1] == first


TRAINING = AlignConfig.model_validate({"lora": {"r": 2}, "dpo": {"max_length": 4096, "max_pairs": 30}})


@pytest.fixture(scope="module")
def trained(tiny, tiny_model, tmp_path_factory):
    """An adapter with the card of a night's: trained on the pairs of 36 of its 40 scenarios, and of these on 30."""
    adapter = save_adapter(tiny_model, tmp_path_factory.mktemp("night") / "adapter")
    drawn = drawn_pairs(set_aside(make_pairs(40), 0.1)[0], TRAINING.dpo)
    data = [
        DataSource(name=name, hash=pair_set_hash(group), rows=len(group), licence="mine")
        for name, source in (("human:emotional_support", "human"), ("search", "search"))
        if (group := [pair for pair in drawn if pair.source == source])
    ]
    config = TRAINING.model_dump(mode="json", include={"lora", "dpo"})
    AdapterCard.read(adapter).model_copy(update={"data": data, "config": config}).write(adapter)
    return adapter


def test_a_policy_is_found_with_the_pairs_it_was_trained_on(trained, tiny):
    found = aligned(trained, tiny, None, make_pairs(40), 0.1)
    kept, _ = set_aside(make_pairs(40), 0.1)
    assert list(found.pairs) == drawn_pairs(kept, TRAINING.dpo) and len(found.pairs) == 30
    assert (found.training.lora, found.training.dpo) == (TRAINING.lora, TRAINING.dpo)
    assert found.fingerprint == adapter_fingerprint(trained)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.pop("dpo"), r"its card's config\.dpo: .*; the nulls need"),  # merged or made by hand
        (lambda config: config["dpo"].update(of_a_later_version=1), r"config\.dpo\.of_a_later_version: "),
    ],
)
def test_a_card_without_settings_that_can_be_trained_with_is_one_sentence(trained, tiny, tmp_path, change, said):
    odd = shutil.copytree(trained, tmp_path / "odd")
    card = AdapterCard.read(odd)
    change(card.config)
    card.write(odd)
    with pytest.raises(ConfigError, match=said):
        aligned(odd, tiny, None, make_pairs(40), 0.1)


def test_a_policy_of_other_pairs_another_start_or_another_base_is_refused(trained, tiny, tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="was not trained on the 39 pairs that the cycle has now"):
        aligned(trained, tiny, None, make_pairs(39), 0.1)
    with pytest.raises(ConfigError, match=r"did not start from .*start; name its start"):
        aligned(trained, tiny, save_adapter(tiny_model, tmp_path / "start"), make_pairs(40), 0.1)
    other = save_adapter(tiny_model, tmp_path / "other", fingerprint="of other weights")
    with pytest.raises(ModelError, match="use the same base model"):
        aligned(other, tiny, None, make_pairs(40), 0.1)
    card = AdapterCard.read(other)
    card.model_copy(update={"method": "sft", "base_fingerprint": tiny.fingerprint}).write(other)
    with pytest.raises(ConfigError, match="was trained on dialogues, not on pairs"):
        aligned(other, tiny, None, make_pairs(40), 0.1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--nulls", "0"), "--nulls 0: "),
        (("--split", "train"), "--split 'train': "),
        (("--max-dialogues", "0"), "--max-dialogues 0: "),
        ((), "no cycle has been run yet"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(engage, options, sentence):
    code, out, err = engage("experiment", "people", "--corpus", "p4g:nowhere", *options)
    assert (code, out) == (2, "") and sentence in err and len(err.strip().splitlines()) <= 2


@pytest.mark.slow
@pytest.mark.model
def test_the_shipped_policy_finds_the_replies_that_it_learnt_from_more_probable_than_its_base(tmp_path):
    learnt = [human for human in read_shipped().dialogues if human.domain == "persuasion"][:4]
    base, shipped = resolve_model("embedded"), adapter_folder("embedded")
    nats = {}
    for adapter in ("", shipped):
        kept = KeptScores.of(tmp_path, base, adapter, "persuasion", 1024)
        score_replies(learnt, base, adapter, 1024, kept)
        nats[adapter] = [one.nats for replies in kept.read().values() for one in replies.values()]
    assert len(nats[shipped]) == len(human_turns(learnt)) and sum(nats[shipped]) < 0.9 * sum(nats[""])


POLICY = Aligned("/home/adapter", "", "abcdef" * 11, (), AlignConfig())


def measured(people, lean):
    """A policy that makes a reply more probable by `lean` of what its dialogue achieved, and two nulls that do not."""
    rng = np.random.default_rng(0)
    start, *nulls = (scores(people, lambda turn: 2.0 + rng.normal(0, 0.05)) for _ in range(3))
    policy = scores(people, lambda turn: 2.0 - lean * achieved(turn.human) + rng.normal(0, 0.05))
    return people_figures(people, start, policy, nulls)


def test_a_policy_that_leans_to_what_goes_badly_is_flagged(people):
    found = measured(people, -1.0)
    assert found.flagged and found.policy.given.rank.high < found.null_range[0]
    assert found.line.endswith(
        f"{len(people.scored)} dialogues of p4g, validation; leans towards what goes badly with people"
    )
    assert "**Flagged: the policy leans" in pages.people_page("c1", POLICY, PeopleConfig(corpus="p4g:x"), found, 0)


def test_a_policy_below_nulls_that_lean_to_what_goes_well_is_not_said_to_lean_to_what_goes_badly(people):
    rng = np.random.default_rng(0)
    start, policy = (scores(people, lambda turn: 2.0 + rng.normal(0, 0.05)) for _ in range(2))
    nulls = [scores(people, lambda turn: 2.0 - achieved(turn.human) + rng.normal(0, 0.05)) for _ in range(2)]
    found = people_figures(people, start, policy, nulls)
    assert found.flagged and found.policy.given.rank.high > 0
    assert found.line.endswith("; leans less towards what goes well with people than its nulls do")
    assert pages.people_answer(found).startswith("Flagged: the policy leans less towards what goes well")


def test_a_policy_that_leans_to_what_goes_well_is_not_flagged(people):
    found = measured(people, 1.0)
    assert found.policy.given.rank.low > found.null_range[1] and not found.flagged
    assert "leans towards what goes well with people" in pages.people_answer(found)


def test_a_policy_that_does_not_lean_is_like_its_nulls(people):
    found = measured(people, 0.0)
    assert found.policy.given.rank.low < 0 < found.policy.given.rank.high
    assert pages.people_answer(found).startswith("Not flagged: the policy cannot be told")


def test_the_files_have_every_reply_and_every_figure(people, tmp_path):
    found = measured(people, 1.0)
    saved = pages.save_people(tmp_path, "c1", POLICY, PeopleConfig(corpus="p4g:x"), found, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"people-p4g-validation.{kind}" for kind in ("csv", "jsonl", "md")
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "people-p4g-validation.csv").read_text())))
    assert len(rows) == 3 * len(people.scored) and "null_2_log_ratio" in rows[0]
    first = people.scored[0]
    assert (rows[0]["scenario_id"], rows[0]["reply"]) == (first.scenario_id, "1")
    assert float(rows[0]["outcome"]) == achieved(first)
    (line,) = (tmp_path / "people-p4g-validation.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert told["association"] == found.policy.given.rank.value and told["flagged"] is False
    assert told["nulls"] == [one.given.rank.value for one in found.nulls] and told["replies"] == len(rows)
    assert saved.path.read_text() == saved.page and f"people: {saved.line}" in saved.text


def test_the_log_ratio_is_the_gain_per_token(people):
    start, policy = scores(people, lambda turn: 2.0), scores(people, lambda turn: 2.0 - 0.1 * turn.number)
    found = people_figures(people, start, policy, [])
    assert list(found.policy.ratios[:3]) == pytest.approx([0.1, 0.2, 0.3])  # 10 tokens each
    assert found.null_range is None and not found.flagged


def test_replies_without_a_score_are_left_out_and_counted(people):
    whole, cut = scores(people, lambda turn: 2.0), scores(people, lambda turn: 2.0)
    for replies in cut.values():
        del replies[3]
    found = people_figures(people, whole, whole, [cut])
    assert (len(found.turns), found.unscored) == (2 * len(people.scored), len(people.scored))
    with pytest.raises(NothingSearched, match=r"raise align\.sft\.max_length"):
        people_figures(people, whole, {}, [])


def test_the_card_keeps_what_people_said(tiny_model, tmp_path):
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    card = AdapterCard.read(adapter)
    assert card.people == ""
    card.model_copy(update={"people": "association +0.03"}).write(adapter)
    assert AdapterCard.read(adapter) == card.model_copy(update={"people": "association +0.03"})
