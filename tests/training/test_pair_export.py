"""Exported pairs: their evidence, near-duplicates, the parts, the folder; read with `datasets` and trained on with trl alone."""

import csv
import json
import math
from pathlib import Path

import pytest
from small_stores import filled, hand_judgement, hand_tree, judge, support_scenario

from engage.errors import ConfigError
from engage.store import Outbox, PairConfig
from engage.training import pair_card
from engage.training.pair_export import EVIDENCE, FORMATS, gather_pairs, split_pairs, without_repeats, write_export

HOSTILE = "=cmd() <script>alert(1)</script> \x1b[2J\u202e | \x00 Tell me."
GOOD, BAD = [[1.0], [1.0, 0.5]], [[0.0], [0.25], [None]]
BAKER = support_scenario("baker")
NURSE = support_scenario("nurse", opening="I failed my exam.")
TREES = [
    hand_tree(BAKER, {"Tell me more about him.": GOOD, "Cheer up.": BAD}),
    hand_tree(NURSE, {HOSTILE: GOOD, "Never mind.": BAD}),
    # the second cycle finds nearly the same pair: 10 of 10 words of the dialogue, and of each reply, are the same
    hand_tree(BAKER, {"tell me more about HIM": GOOD, "Cheer up!": BAD}, cycle_id="c2"),
]


def judged(folder):
    store = filled(folder, [BAKER, NURSE], TREES, cycle_ids=("c1", "c2"))
    for cycle in ("c1", "c2"):
        store.score_pairs(cycle, PairConfig(min_q_gap=0.0, confidence=0.5))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("store"))


@pytest.fixture
def home(own_home):
    judged(own_home)
    return own_home


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.slow
def test_a_pair_has_its_prompt_its_replies_and_its_evidence(store, tmp_path):
    write_export(gather_pairs(store, ["c1"], 0.0, 0), "trl", "card", tmp_path / "out")
    baker, nurse = lines(tmp_path / "out" / "train.jsonl")
    in_store = next(row for row in store.rows("pairs", {"cycle": "c1"}) if row["scenario"] == "baker")
    assert [message["role"] for message in baker["prompt"]] == ["system", "user"]
    assert baker["prompt"][1]["content"] == "My dog died."
    assert baker["chosen"] == [{"role": "assistant", "content": "Tell me more about him."}]
    assert baker["rejected"] == [{"role": "assistant", "content": "Cheer up."}]
    assert nurse["chosen"][0]["content"] == HOSTILE
    # simulations through each reply: 1 + 2, and 1 + 1 + 1; user turns with a reward: 2, and 2 (the third could not be read)
    assert [baker[name] for name in ("chosen_visits", "rejected_visits", "chosen_groups", "rejected_groups")] == [
        3,
        3,
        2,
        2,
    ]
    assert (baker["cycle"], baker["domain"], baker["scenario"], baker["exchange"]) == (
        "c1",
        "emotional_support",
        "baker",
        0,
    )
    assert baker["q_gap_raw"] == pytest.approx(0.75)  # (1 + 0.75)/2 - (0 + 0.25)/2
    assert baker["p_greater"] == pytest.approx(in_store["p_greater"], abs=1e-4)
    assert baker["q_gap"] == pytest.approx(in_store["q_gap"], abs=1e-4)


@pytest.mark.slow
def test_nearly_the_same_pair_of_another_cycle_is_left_out_and_counted(store):
    export = gather_pairs(store, ["c1", "c2"], 0.0, 0)
    assert ([(pair["cycle"], pair["scenario"]) for pair in export.pairs], export.repeated) == (
        [("c1", "nurse"), ("c2", "baker")],  # the second cycle's is surer: the first told it how far replies differ
        1,
    )


def row(number, chosen, rejected="No.", *, p=0.9, group="g", exchange=0):
    place = {"cycle": "c", "tree": "t", "decision_node": 0, "chosen_node": number, "rejected_node": 99}
    prompt = [{"role": "user", "content": "Hi."}]
    texts = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return {**texts, **place, "p_greater": p, "q_gap": 0.1, "group": group, "exchange": exchange}


def test_replies_that_share_nine_tenths_of_their_words_are_alike_and_the_surest_pair_is_kept():
    nine = "one two three four five six seven eight nine"
    pairs = [
        row(1, nine, p=0.8),
        row(2, f"{nine} ten", p=0.95),  # 9 of 10 words: alike
        row(3, "one two three four five six seven eight ten", p=0.7),  # 9 of 10 of the second's: alike
        row(4, "one two three four five six seven ten eleven", p=0.7),  # 8 of 11: not alike
        row(5, nine, "Something else.", p=0.7),  # another rejected reply
        row(6, nine, group="another opening"),
        row(7, nine, exchange=1),
        row(8, "🙂"),
        row(9, "🙃"),  # no words at all: compared as they are
    ]
    assert [pair["chosen_node"] for pair in without_repeats(pairs)] == [2, 4, 5, 6, 7, 8, 9]


def test_scenarios_with_the_same_opening_are_in_the_same_part_and_stay_there():
    pairs = [row(number, "Yes.", group=f"g{number % 50}") for number in range(200)]
    parts = split_pairs(pairs, 0.3, 0)
    groups = {part: {pair["group"] for pair in found} for part, found in parts.items()}
    assert len(groups["train"]) + len(groups["test"]) == 50 and not groups["train"] & groups["test"]
    assert 5 <= len(groups["test"]) <= 25  # 15 are expected, with a standard deviation of 3.2
    fewer = split_pairs(pairs[:10], 0.3, 0)
    assert {pair["group"] for pair in fewer["test"]} <= groups["test"]
    assert split_pairs(pairs, 0.3, 1)["test"] != parts["test"]
    assert split_pairs(pairs[:1], 1.0, 0) == {"train": pairs[:1], "test": []}  # nothing else would be left to train on


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_loads_with_datasets(form, home, engage, tmp_path, monkeypatch):
    from datasets import load_dataset

    out = tmp_path / "pairs"
    assert (
        engage("pairs", "export", "--format", form, "--out", str(out), "--cycle", "c1", "--test-share", "0.5")[0] == 0
    )
    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    written = {"train", "test"} if (out / f"test.{'csv' if form == 'csv' else 'jsonl'}").exists() else {"train"}
    assert set(loaded) == written
    rows = [one for part in loaded.values() for one in part]
    assert len(rows) == (4 if form == "kto" else 2)
    assert all(one["chosen_visits"] == 3 and 0.5 <= one["p_greater"] <= 1 for one in rows)
    if form == "kto":
        assert [one["label"] for one in rows] == [True, False, True, False]


def test_a_spreadsheet_gets_escapes_and_no_formula(store, tmp_path):
    write_export(gather_pairs(store, ["c1"], 0.0, 0), "csv", "card", tmp_path / "out")
    with (tmp_path / "out" / "train.csv").open(newline="", encoding="utf-8") as file:
        chosen = [one["chosen"] for one in csv.DictReader(file)]
    assert chosen[1] == "'=cmd() <script>alert(1)</script> \\x1b[2J\\u202e | \\x00 Tell me."


def test_sharegpt_puts_the_replies_beside_the_dialogue(store, tmp_path):
    write_export(gather_pairs(store, ["c1"], 0.0, 0), "sharegpt", "card", tmp_path / "out")
    baker = lines(tmp_path / "out" / "train.jsonl")[0]
    assert baker["conversations"] == [{"from": "human", "value": "My dog died."}]
    assert (baker["chosen"], baker["rejected"]["from"]) == ({"from": "gpt", "value": "Tell me more about him."}, "gpt")


@pytest.mark.slow
def test_the_card_states_counts_licences_and_checks(home, engage, tmp_path):
    out = tmp_path / "pairs"
    asked = (
        "pairs",
        "export",
        "--format",
        "trl",
        "--out",
        str(out),
        "--cycle",
        "c1",
        "--cycle",
        "c2",
        "--test-share",
        "0",
    )
    code, said, _ = engage(*asked)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert code == 0 and "2 train, 0 test pairs of c1, c2; near-duplicates left out: 1" in said
    assert card.startswith("---\nlicense: other\n") and "path: train.jsonl" in card and "test.jsonl" not in card
    assert "| c1 | emotional_support | 1 | 0 |" in card and "| c2 | emotional_support | 1 | 0 |" in card
    assert "| scenarios: own | not stated | 2 |" in card  # the scenarios of these tests name no source
    assert "Of the accepted pairs 1 were left out as near-duplicates" in card
    assert "| accepted | 3 |" in card


def test_the_card_states_what_is_known_of_the_models_licences_and_no_path_of_this_machine(store, own_home, tmp_path):
    model = tmp_path / "llama"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("{}")
    (model / "README.md").write_text("---\nlanguage: en\nlicense: llama3.2\n---\nA model.\n", encoding="utf-8")
    other = filled(tmp_path / "other", [], cycle_ids=())
    other.begin_cycle("c9", {"models": {str(model): "f1", "served simulator": "gpt-x", "asked simulator": "f2"}})
    card = pair_card(other, gather_pairs(store, ["c1"], 0.0, 0), "trl", ["c9"], 0)
    assert "| model: llama | llama3.2 |" in card and "| model: gpt-x | not stated |" in card
    assert str(tmp_path) not in card and "asked" not in card.split("## Checks")[0].split("## Sources")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--format", "parquet"), "--format 'parquet' is not known; use trl, kto, sharegpt, csv"),
        (("--cycle", "nowhere"), "cycle 'nowhere' is not in the store"),
        (("--out", "FULL"), "there is something already; name a new folder"),
        (("--out", "FILE"), "there is something already; name a new folder"),
        (("--out", "FILE/below"), "cannot be written"),
        (("--out", "/"), "there is something already; name a new folder"),
        (("--out", "n" * 300), "cannot be written: File name too long"),
    ],
)
def test_a_wrong_export_is_one_sentence_and_writes_nothing(change, told, home, engage, tmp_path):
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "mine.txt").write_text("mine")
    (tmp_path / "FILE").write_text("mine")
    before = sorted(path for path in tmp_path.rglob("*") if home not in path.parents)
    given = {"--format": "trl", "--out": "new", "--cycle": "c1"} | dict([change])
    given["--out"] = str(tmp_path / given["--out"])
    code, said, error = engage("pairs", "export", *(word for option in given.items() for word in option))
    assert (code, said) == (2, "") and told in error and len(error.strip().splitlines()) == 1
    assert sorted(path for path in tmp_path.rglob("*") if home not in path.parents) == before


def test_an_empty_folder_is_filled(store, tmp_path):
    (tmp_path / "out").mkdir()
    write_export(gather_pairs(store, ["c1"], 0.0, 0), "trl", "card", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "train.jsonl"]


def test_cycles_without_a_pair_are_refused(tmp_path):
    store = filled(tmp_path, [BAKER], cycle_ids=("c1",))
    with pytest.raises(ConfigError, match="no accepted pair in c1"):
        gather_pairs(store, ["c1"], 0.1, 0)


@pytest.mark.slow
def test_a_script_of_trl_alone_trains_on_an_export(tiny_model, store, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    write_export(gather_pairs(store, ["c1"], 0.0, 0), "trl", "card", tmp_path / "out")
    pairs = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    arguments = DPOConfig(
        output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, learning_rate=1e-2,
        max_length=512, report_to=[], use_cpu=True, save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    trainer = DPOTrainer(model, args=arguments, train_dataset=pairs["train"], processing_class=tokenizer)
    trainer.train()
    assert any((weights != before[name]).any() for name, weights in model.named_parameters())
    assert trainer.state.log_history[0]["loss"] == pytest.approx(
        0.693, abs=0.01
    )  # ln 2: policy and reference are equal at first


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_what_the_card_prints_to_load_and_train_runs_as_it_stands(
    form, tiny_model, home, engage, tmp_path, monkeypatch
):
    import datasets

    out = tmp_path / "pairs"
    engage("pairs", "export", "--format", form, "--out", str(out), "--cycle", "c1", "--test-share", "0.5")
    monkeypatch.chdir(out)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    snippets = [
        part.partition("```")[0] for part in Path("README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    ]
    script = "".join(snippets).replace('"HuggingFaceTB/SmolLM2-135M-Instruct"', repr(str(tiny_model)))
    names: dict = {}
    exec(script, names)
    assert {part: len(rows) for part, rows in names["pairs"].items()} == {
        part: (2 if form == "kto" else 1) for part in ("train", "test")
    }
    if form in ("trl", "kto"):
        assert names["trainer"].state.global_step == 1 and math.isfinite(
            names["trainer"].state.log_history[-1]["train_loss"]
        )


def test_the_card_states_the_thresholds_of_its_pairs(store, tmp_path):
    asked = {"pairs": {"confidence": 0.5, "min_q_gap": 0.0, "min_groups": 2, "max_pairs_per_prefix": 1}}
    other = filled(tmp_path / "other", [], cycle_ids=())
    other.begin_cycle("c1", {}, settings=asked)
    other.begin_cycle("c9", {})
    export = gather_pairs(store, ["c1"], 0.0, 0)
    card = pair_card(other, export, "trl", ["c1", "c9"], 0)
    smallest = [f"{min(pair[name] for pair in export.pairs):.3f}" for name in ("p_greater", "q_gap")]
    assert f"| c1 | 0.5 | 0.0 | 2 | 1 | {smallest[0]} | {smallest[1]} |" in card
    assert "| c9 | not stored | not stored | not stored | not stored | – | – |" in card
    columns = card.partition("## Columns")[2].partition("## Counts")[0]
    assert all(f"`{name}`" in columns for name in ("prompt", "chosen", "rejected", *EVIDENCE))


@pytest.mark.slow
def test_what_reviewers_called_harmful_after_the_pairs_were_accepted_is_not_given_away(engage, home, tmp_path):
    outbox = Outbox(home / "outbox")  # as a review leaves it that was interrupted
    outbox.put_judgement(hand_judgement("harmful", "ann", "baker"))
    outbox.put_judgement(hand_judgement("left", "ann", "nurse"))
    outbox.put_judgement(hand_judgement("nonsense", "bob", "nurse", minute=1))  # one of two: not most of them
    code, out, _ = engage(
        *("pairs", "export", "--format", "trl", "--out", str(tmp_path / "out"), "--cycle", "c1", "--test-share", "0")
    )
    said = " ".join(out.split())
    assert code == 0 and "1 train, 0 test pairs of c1" in said
    assert "called nonsense or harmful by most of their reviewers: 1" in said
    (nurse,) = lines(tmp_path / "out" / "train.jsonl")
    assert nurse["scenario"] == "nurse"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "called 1 nonsense or harmful" in card and "People judged 2 of all these pairs" in card
    assert "judged a reply" not in card


@pytest.mark.slow
def test_an_export_of_nothing_but_harmful_pairs_is_refused(engage, home, tmp_path):
    store = judged(tmp_path / "other")
    judge(store, *(hand_judgement("harmful", "ann", name) for name in ("baker", "nurse")))
    with pytest.raises(ConfigError, match="reviewers call all 2 accepted pairs of c1 nonsense or harmful"):
        gather_pairs(store, ["c1"], 0.0, 0)
