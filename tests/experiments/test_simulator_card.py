"""The simulator card through its flow and its command: a tiny model, a hand-written corpus of the layout of PersuasionForGood."""

import pytest
from card_dialogues import persuadee, write_p4g, write_tables
from mlflow import MlflowClient
from tiny_models import save_adapter

from engage.corpora import read_corpus
from engage.errors import ConfigError, ModelError
from engage.experiments.simulator_card.plan import CardConfig, held_out_dialogues, simulator_labels
from engage.home import Home
from engage.models import resolve_model
from engage.training import PreferencePair, save_pairs
from flows.cli.profiles import load_config
from flows.simulator import simulator_card
from tasks.experiments.simulator_card import check_card


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    return write_p4g(tmp_path_factory.mktemp("p4g"), validation=4)


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


@pytest.mark.usefixtures("prefect_server")
def test_simulators_stand_side_by_side_on_one_page_and_in_one_run(corpus, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("engage.experiments.simulator_card.words.MIN_TRAIN_DIALOGUES", 4)
    adapter = save_adapter(tiny_model, tmp_path / "mine" / "adapter")
    settings = (
        f"engine.simulator_model={tiny_model}",
        "align.sft.max_length=4096",
        "dialogue.speech.user.max_tokens=4",
    )
    config = load_config("laptop", settings)  # the adapters of the profile do not fit this model, and are not asked
    card = CardConfig(corpora=(corpus,), adapters=("bare", str(adapter)), max_dialogues=3)
    result = simulator_card(config, card, str(tmp_path / "card"))
    page = (tmp_path / "card" / "card.md").read_text()
    assert "## persuasion (3 dialogues)" in page and "| | bare | mine/adapter |" in page
    # the people of this corpus give the sum that they name, which the regression reads
    assert "By words alone:" in page and "| AUC of a model on the user's words alone | | 1.00 | 1.00 |" in page
    assert (tmp_path / "card" / "reliability_persuasion.png").read_bytes().startswith(b"\x89PNG")
    assert result.page == tmp_path / "card" / "card.md" and "persuasion, mine/adapter" in result.text
    client = MlflowClient(Home.from_env().tracking_uri)
    (run,) = client.search_runs(["1"], "tags.`engage.stage` = 'simulator-card'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["bare/persuasion/perplexity"] > 1
    assert run.data.metrics["bare/persuasion/perplexity_to_bare"] == 1.0
    assert (
        run.data.metrics["mine_adapter/persuasion/survey_actual"] == run.data.metrics["bare/persuasion/survey_actual"]
    )
    assert {"card.md", "plots"} <= {file.path for file in client.list_artifacts(run.info.run_id)}


def test_only_held_out_dialogues_with_an_outcome_are_taken_and_a_limit_draws_among_them(corpus):
    known = {human.scenario_id: human for human in read_corpus(corpus).dialogues}
    held_out = held_out_dialogues(CardConfig(corpora=(corpus,), adapters=("bare",)))
    assert {human.split for human in held_out.train["persuasion"]} == {"train"}
    taken = held_out.by_domain["persuasion"]
    assert len(taken) == 4 and {known[human.scenario_id].split for human in taken} == {"validation"}
    few = held_out_dialogues(CardConfig(corpora=(corpus,), adapters=("bare",), max_dialogues=2)).by_domain["persuasion"]
    assert len(few) == 2 and set(few) <= set(taken)


def test_users_in_crisis_are_asked_nothing(monkeypatch, corpus):
    from engage.experiments.simulator_card import plan

    crisis = next(
        human
        for number in range(1000)
        if (human := persuadee(number, 0.5, ("I have heard of them.", "I want to kill myself."))).split == "validation"
    )
    read = read_corpus(corpus)
    with_crisis = type(read)("p4g", (*read.dialogues, crisis), {}, {})
    monkeypatch.setattr(plan, "read_corpora", lambda names, options: [with_crisis])
    found = held_out_dialogues(CardConfig(corpora=(corpus,), adapters=("bare",)))
    assert found.crises == 1 and crisis not in found.by_domain["persuasion"]


def test_simulators_are_named_once_and_must_fit_the_model(tiny_model, tmp_path):
    base = resolve_model(str(tiny_model))
    adapter = save_adapter(tiny_model, tmp_path / "run" / "adapter")
    assert simulator_labels(("bare", str(adapter)), base) == {"bare": "", "run/adapter": str(adapter)}
    with pytest.raises(ConfigError, match="--adapter policy: all simulators here have the model of"):
        simulator_labels(("bare", "policy"), base)
    with pytest.raises(ConfigError, match="bare is on the card already"):
        simulator_labels(("bare", "bare"), base)
    with pytest.raises(ModelError, match="cannot be read"):
        simulator_labels((str(tmp_path / "nowhere"),), base)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    card = CardConfig(corpora=(corpus,), adapters=("bare",))
    with pytest.raises(ConfigError, match="name another folder with --out"):
        check_card.fn(load_config("laptop", ("engine.kind=scripted",)), card, str(tmp_path / "file" / "card"))


def test_a_split_without_a_dialogue_is_refused(tmp_path):
    rows = [("d", 0, 0, "Hello?"), ("d", 0, 1, "Hello to you, who is it?"), ("d", 1, 0, "Me.")]
    write_tables(tmp_path, rows, [("d", 1, "", 40)])  # who gave how much is not known
    with pytest.raises(ConfigError, match="no dialogue of the validation split has an outcome"):
        held_out_dialogues(CardConfig(corpora=(f"p4g:{tmp_path}",), adapters=("bare",)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--corpus", "p4g:nowhere", "--split", "train"), "--split 'train'"),
        (("--corpus", "nobody:here"), "corpus 'nobody:here' is not known"),
        (("--corpus", "p4g:nowhere"), "nowhere: cannot be read"),
    ],
)
@pytest.mark.usefixtures("prefect_server")
def test_a_mistake_is_one_sentence_and_exit_code_2(engage, arguments, sentence):
    code, _, err = engage("simulator", "card", *arguments)
    assert code == 2 and sentence in err and "Traceback" not in err


def test_the_style_of_a_cycles_pairs_is_shown_and_tracked(engage):
    home, prompt = Home.from_env(), ({"role": "user", "content": "x"},)
    pairs = [PreferencePair(prompt, "one two three four", "one", "persuasion", f"s{n}", "human") for n in range(6)]
    save_pairs(pairs, home.cycle("c1") / "pairs.parquet")
    code, out, _ = engage("pairs", "style", "--cycle", "c1")
    assert code == 0 and "100.0%" in out
    (run,) = MlflowClient(home.tracking_uri).search_runs(["1"], "tags.`engage.cycle_id` = 'c1'")
    assert run.data.metrics["style/human/accuracy"] == 1.0 and run.data.metrics["style/human/words_rejected"] == 1.0


def test_a_cycle_without_pairs_is_refused(engage):
    code, _, err = engage("pairs", "style", "--cycle", "c9")
    assert code == 2 and "cycle 'c9' has no pairs" in err
    save_pairs([], Home.from_env().cycle("c9") / "pairs.parquet")  # an align of which no pair was accepted
    code, out, err = engage("pairs", "style", "--cycle", "c9")
    assert (code, out) == (2, "") and "cycle 'c9' has no pairs" in err
    (Home.from_env().cycle("c9") / "pairs.parquet").unlink()
    assert engage("pairs", "style")[0] == 2
