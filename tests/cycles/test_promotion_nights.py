"""Promotion over nights through the real flows: a tiny model that is really trained, and scripted speakers of whom one candidate is better."""

import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from scripted_engines import Counted, ask, played_by
from tiny_models import save_adapter

from engage.config import CycleConfig
from engage.engines.base import Side
from engage.engines.scripted import canned_reply
from engage.errors import ConfigError
from engage.evaluation import Places, Verdict, reigns, stage_text
from engage.evaluation.promoting import promote_by_person
from engage.seeds import derive_seed
from engage.store import Challenges, TrajectoryStore
from engage.tracking import Tracker
from engage.workspace import Workspace
from flows.align import align
from flows.cli.profiles import load_config
from flows.collect import collect
from flows.evaluation import evaluation

pytestmark = pytest.mark.usefixtures("prefect_server")

# 6 scenarios, the fewest that can show a gain; each gains 1, so that a night's evidence is (1.3⁶ + 1.95⁶) / 2 = (4.8 + 55) / 2 = 30.
# Number 1 needs 40.5, and two nights bring 1,523
SETTINGS = (
    "scenarios.per_domain=2",
    "search.num_simulations=8",
    "search.round_size=8",
    "pairs.min_q_gap=0.0",
    "pairs.confidence=0.5",
    "align.dpo.max_length=4096",
    "align.dpo.max_pairs=2",
    "align.dpo.batch_size=2",
    "align.dpo.gradient_accumulation=1",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "evaluation={per_domain=3}",
)
HERE = Places(None, "sqlite:///mlflow.db")


class OneIsBetter(Counted):
    """Users are content with the policy of the adapter `better`, and with no other."""

    better: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self._canned, self._choose = self._choose, self._chosen

    def _answer(self, prompt, seed):
        self.requests += 1
        self.adapters.add(prompt.adapter) if prompt.side is Side.POLICY else None
        if prompt.side is not Side.POLICY or not self.better or prompt.adapter != self.better:
            return canned_reply(prompt, seed)
        words = ["Tell", "me", "all", "of", "it", "from", "the", "first"]
        return " ".join(f"{word}{seed % 9973}" for word in words) + "?"

    def _chosen(self, prompt, choices):
        if not self.better:
            return self._canned(prompt, choices)
        good = any(message.content.startswith("Tell") for message in prompt.messages)
        best = {"1": "1", "0": str(len(choices) - 1)}[choices[0]] if good else {"1": "5", "0": "0"}[choices[0]]
        return [1.0 if choice == best else 1e-9 for choice in choices]


@pytest.fixture(scope="module")
def engine():
    with played_by(OneIsBetter()) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory, open_home, engine):
    with open_home(tmp_path_factory.mktemp("nights") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def config(tiny_model, tmp_path_factory):
    other_user = save_adapter(str(tiny_model), tmp_path_factory.mktemp("user") / "adapter")
    models = (f"engine.policy_model={tiny_model}", f"engine.simulator_model={tiny_model}")

    def made(*more: str) -> CycleConfig:
        return load_config("laptop", [*SETTINGS, *models, f"evaluation.second_simulator={other_user}", *more])

    return made


def state(home, number: int) -> tuple[str, bool]:
    ((found, passed),) = ask(home, "select state, passed from challenge where number = $n", n=number)
    return found, passed


@pytest.fixture(scope="module")
def candidates(engine, home, config):
    """The candidates of three nights, none of them judged; the first is better than the base. The third night is scripted."""
    rates = {
        "one": "align.dpo.learning_rate=5e-5",
        "two": "align.dpo.learning_rate=1e-4",
        "tried": "engine.kind=scripted",
    }
    found = {}
    for cycle, setting in rates.items():
        kind = (setting,) if cycle == "tried" else ()
        collect(config(*kind), cycle)
        found[cycle] = align(config(setting), cycle).candidate
    engine.better = found["one"].adapter
    return found


@pytest.fixture(scope="module")
def first(candidates, config):
    """The first night: six scenarios cannot show yet that its candidate is better."""
    return candidates["one"], evaluation(config(), "one")


@pytest.fixture(scope="module")
def second(candidates, first):
    """The second night's candidate, before it is judged."""
    return candidates["two"]


def test_a_better_candidate_stays_and_says_what_it_needs(first, home):
    judged = first[1]
    assert not judged.verdict.promoted
    gain = re.escape(
        "not promoted yet: +1.000 [+1.000, +1.000] on 6 held-out scenarios, evidence 30 of 41 after 1 night; "
    )
    assert re.match(gain + "at this rate it needs about 6 more dialogues \\(1 night\\)", judged.verdict.reason)
    assert state(home, 1) == ("open", False)


def test_judging_a_night_again_spends_and_gathers_nothing(first, home, engine, config):
    before, engine.requests = ask(home, "select number, seed from challenge_batch order by all"), 0
    assert evaluation(config(), "one").verdict == first[1].verdict
    assert engine.requests == 0
    assert ask(home, "select number, seed from challenge_batch order by all") == before


def test_runs_of_the_same_ground_carry_the_same_digest(first, home):
    (ground,) = ask(home, "select ground from challenge")[0]
    assert set(ask(home, "select distinct ground from evaluation")) == {(ground,)}
    client = MlflowClient(home.tracking_uri)
    runs = client.search_runs(["1"], "tags.`engage.stage` = 'evaluation'")
    assert {run.data.tags["engage.ground"] for run in runs} == {ground}


def test_a_scripted_night_opens_no_challenge_and_promotes_nothing(first, home, config):
    verdict = evaluation(config("engine.kind=scripted"), "tried").verdict
    assert verdict.reason == (
        "not promoted: the scripted engine has prepared answers, which do not show what a candidate does"
    )
    assert ask(home, "select count(*) from challenge") == [(1,)]


def test_a_cycle_with_the_seeds_of_an_earlier_one_adds_no_evidence(first, home, engine, config):
    before = ask(home, "select number, seed, cycle_id from challenge_batch order by all")
    evaluation(config(f"seed={derive_seed('cycle', 'one') % 2**32}"), "same")
    held = "select distinct policy from trajectory where purpose = 'evaluation' and cycle_id = 'same'"
    assert ask(home, held) == [("base",)]
    assert ask(home, "select number, seed, cycle_id from challenge_batch order by all") == before
    assert state(home, 1) == ("open", False)


def test_a_folder_that_is_gone_drops_the_challenger(first, second, home, engine, config, tmp_path):
    kept = Path(first[0].adapter)
    shutil.move(kept, tmp_path / "away")
    try:
        evaluation(config(), "two")
        assert ask(home, "select state, reason from challenge where number = 1") == [
            ("dropped", f"its folder {kept} is gone")
        ]
    finally:
        shutil.move(tmp_path / "away", kept)
    evaluation(config(), "one")  # judged again, it is a challenger as before
    assert state(home, 1) == ("open", False)
    assert state(home, 2) == ("dropped", False)  # the second night's own candidate shows no gain


def test_with_manual_promotion_a_passed_challenger_waits_for_a_person(first, second, home, engine, config):
    judged = evaluation(config("evaluation.promotion=manual"), "two")
    assert Tracker(home).champion() is None
    assert state(home, 1) == ("passed", True)
    (note,) = [note for note in judged.notes if note.startswith("candidate 1")]
    told = {run.cycle_id: run.tags["verdict"] for run in Tracker(home).cycles()}
    assert note.endswith(told["one"])  # the run of the night that trained it tells what became of it
    version = Tracker(home).version_of(Path(first[0].adapter))
    assert note.endswith(
        f"it waits for a person: `engage promote {version} --why TEXT` (evaluation.promotion is manual)"
    )
    assert f"\nCandidate{note.removeprefix('candidate')}." in stage_text("two", judged, HERE)


def test_a_kill_between_the_registry_and_the_store_is_completed_by_the_next_run(
    first, second, home, config, monkeypatch
):
    def killed(*_, **__):
        raise ConfigError("killed")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="killed"):
        patch.setattr(Challenges, "record_promotion", killed)
        evaluation(config(), "two")
    assert str(Tracker(home).champion().adapter) == first[0].adapter
    assert state(home, 1) == ("passed", True)
    assert ask(home, "select count(*) from promotion") == [(0,)]
    evaluation(config(), "two")
    assert state(home, 1) == ("promoted", True)
    evaluation(config(), "two")
    promotions = ask(home, "select version, cycle_id, challenge, promoted_by, replaced from promotion")
    assert [(row[1], row[2], row[3]) for row in promotions] == [("one", 1, "the rule")]
    tags = MlflowClient(home.tracking_uri).get_model_version("engage-policy", promotions[0][0]).tags
    assert tags["engage.promoted_by"] == "the rule" and tags["engage.promoted_why"].startswith("promoted: +1.000")


def test_what_was_promoted_stays_so_in_the_record_when_the_champion_has_moved_on(first, second, home, config):
    tracker = Tracker(home)
    assert tracker.champion() is not None
    other = tracker.version_of(Path(second.adapter))
    text = promote_by_person(Workspace(home), other, "to try it")
    assert text.startswith(f"version {other} is now the champion, instead of version ")
    late = evaluation(config(), "one").verdict
    assert late == Verdict(
        False, f"not promoted: the champion is version {other} by now, this cycle knew another; begin a new cycle"
    )
    assert state(home, 1) == ("promoted", True)


def test_a_person_promotes_what_was_judged_and_says_why(first, second, home, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    workspace, tracker = Workspace(home), Tracker(home)
    version = tracker.version_of(Path(first[0].adapter))
    text = promote_by_person(workspace, "one", "the pilot users liked it")
    assert f"version {version} is now the champion" in text and "(by ada: the pilot users liked it)" in text
    assert str(tracker.champion().adapter) == first[0].adapter
    last = "select version, promoted_by, why, challenge from promotion order by rowid desc limit 1"
    assert ask(home, last) == [(version, "ada", "the pilot users liked it", None)]
    tags = MlflowClient(home.tracking_uri).get_model_version("engage-policy", version).tags
    assert (tags["engage.promoted_by"], tags["engage.promoted_why"]) == ("ada", "the pilot users liked it")
    assert promote_by_person(workspace, version, "again") == (
        f"version {version} is the champion already; nothing was changed"
    )


@pytest.mark.parametrize(
    ("asked", "why", "said"),
    [
        ("nowhere", "x", "'nowhere' is neither a cycle of this home nor a version in its registry"),
        ("99", "x", "'99' is neither a cycle of this home nor a version in its registry"),
        ("one", " ", "--why: write the reason, which is recorded with the promotion"),
        (
            "searched",
            "x",
            "cycle 'searched' has no candidate: nothing was trained in it; run `engage align --cycle searched`",
        ),
    ],
)
def test_a_promotion_that_makes_no_sense_is_refused(first, home, config, asked, why, said):
    TrajectoryStore(home.database).begin_cycle("searched", {})
    with pytest.raises(ConfigError) as refused:
        promote_by_person(Workspace(home), asked, why)
    assert str(refused.value) == said


def test_what_was_never_judged_is_promoted_only_if_allowed(first, second, home, config):
    align(config("align.dpo.learning_rate=3e-4"), "two")
    with pytest.raises(ConfigError, match="was never judged; run `engage evaluate --cycle` with its cycle first"):
        promote_by_person(Workspace(home), "two", "a guess")
    assert promote_by_person(Workspace(home), "two", "a guess", unjudged=True).endswith(
        "last verdict: it was never judged"
    )


def test_the_night_that_promotes_has_not_judged_the_champion_again(candidates, engine, open_home, config, tmp_path):
    better, engine.better = engine.better, None
    with open_home(tmp_path / "home") as home:
        collect(config(), "one")
        engine.better = align(config(), "one").candidate.adapter
        # number 1 needs 2.03 / 0.2 = 10 of its 30
        assert evaluation(config("evaluation.alpha=0.2"), "one").verdict.promoted
        (reign,) = reigns(Challenges(TrajectoryStore(home.database)), home.find)
        assert (reign.gain, reign.judged_again) == ("+1.000 [+1.000, +1.000]", None)
    engine.better = better
