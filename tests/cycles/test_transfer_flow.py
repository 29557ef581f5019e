"""`engage experiment transfer` through the real flow: one held-out user agrees with the search's, the other wants the opposite."""

import pytest
from mlflow import MlflowClient
from scripted_cycles import small
from scripted_engines import Counted, ask, played_by
from tiny_models import save_adapter

from engage.engines.base import Side
from engage.errors import ConfigError
from engage.models import adapter_fingerprint
from engage.tracking import Tracker
from flows.align import align
from flows.collect import collect
from flows.transfer import transfer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


class Moody(Counted):
    """How well off users are depends on the length of what was said; users of `contrary` feel the opposite."""

    contrary = ""

    def __init__(self) -> None:
        super().__init__()
        self._choose = self._weigh
        self.surveys = 0

    def _weigh(self, prompt, choices):
        self.surveys += prompt.side is Side.SIMULATOR
        said = sum(len(message.content) for message in prompt.messages) % 97 / 97
        good = 1 - said if prompt.adapter == self.contrary else said
        return [good if place == 0 else (1 - good) / (len(choices) - 1) for place in range(len(choices))]


def test_who_agrees_confirms_every_pair_and_who_wants_the_opposite_none(home, tiny_model, tmp_path):
    users = [save_adapter(str(tiny_model), tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    panel = f"evaluation={{per_domain=3, simulators=['{users[0]}', '{users[1]}']}}"
    settings = small(tiny_model, "engine.kind=transformers", f"engine.simulator_model={tiny_model}", panel)
    with played_by(Moody()) as engine:
        engine.contrary = str(users[1])
        collect(settings, "night")
        with pytest.raises(ConfigError, match="'night' has no accepted pair of its own search; run `engage align"):
            transfer(settings, "night")
        align(settings, "night")
        (pairs,) = ask(home, "select count(*) from pair where accepted")[0]
        asked = engine.surveys
        found = transfer(settings, "night")
        conversations = (engine.surveys - asked) / 2
        again = transfer(settings, "night")
        assert engine.surveys - asked == 2 * conversations and again.text == found.text  # kept answers are reused
    own, *others = found.text.splitlines()[:3]
    agrees, contrary = (next(line for line in others if adapter_fingerprint(str(user))[:8] in line) for user in users)
    assert pairs > 3 and own.endswith(f"above 0 in 1.00 [{own.rpartition('[')[2]}") and f"of {pairs} pairs" in own
    assert agrees.partition(": ")[2] == own.partition(": ")[2]
    assert "above 0 in 0.00 [" in contrary and contrary.partition("rejected ")[2].startswith("-")
    with Tracker(home).stage("night", "transfer", found.path.stem.removeprefix("transfer-")) as stage:
        run = MlflowClient(home.tracking_uri).get_run(stage.run_id)
    assert run.data.metrics["transfer/search/pairs"] == pairs


def test_without_a_held_out_simulator_one_sentence_says_so(home, tiny_model):
    settings = small(tiny_model, "evaluation={per_domain=3, second_simulator=''}")
    with played_by(Counted()):
        collect(settings, "c1")
        with pytest.raises(
            ConfigError, match=r"no held-out simulator: .* name another with --set evaluation\.second_simulator"
        ):
            transfer(settings, "c1")
