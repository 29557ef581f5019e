"""The plan of a card: its simulators and its held-out human dialogues."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.corpora import CorpusOptions, HumanDialogue, read_corpora
from engage.engines import EngineConfig, model_names
from engage.errors import ConfigError
from engage.models import BARE, EMBEDDED, POLICY_MODEL, ModelRef, adapter_folder, check_adapter
from engage.seeds import derive_seed


class CardConfig(BaseModel):
    """Settings of one card; the engine and the simulator's sampling come from the cycle's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpora: tuple[str, ...] = Field(
        min_length=1, description="human corpora as `esconv:PATH`, `p4g:PATH` or `own:PATH`"
    )
    adapters: tuple[str, ...] = Field(
        min_length=1, description="adapters of the simulators to compare: `embedded`, `bare` or folders"
    )
    split: Literal["validation", "test"] = Field("validation", description="split of the held-out dialogues")
    max_dialogues: int | None = Field(
        None, ge=1, description="maximum number of dialogues per corpus, sampled with the seed"
    )
    places: int = Field(
        2, ge=1, le=20, description="user turns per dialogue that are simulated and compared with the real ones"
    )
    answers: int = Field(4, ge=2, le=64, description="survey answers sampled per dialogue for the reader `pattern`")
    seed: int = Field(0, ge=0, description="seed of the sampled dialogues, the turns and every request")


@dataclass(frozen=True)
class HeldOut:
    """Dialogues with a known outcome by domain; `crises` were left out because a user in crisis gets no survey.

    `train` are those of the train split, by domain.
    """

    by_domain: Mapping[str, tuple[HumanDialogue, ...]]
    train: Mapping[str, tuple[HumanDialogue, ...]]
    crises: int


def held_out_dialogues(config: CardConfig, options: CorpusOptions | None = None) -> HeldOut:
    """The dialogues of a card. ConfigError if a corpus has none in the split; ConfigError or CorpusError if it cannot be read."""
    selected: dict[str, dict[str, HumanDialogue]] = {}
    train: dict[str, dict[str, HumanDialogue]] = {}
    crises = 0
    for name, corpus in zip(config.corpora, read_corpora(config.corpora, options or CorpusOptions()), strict=True):
        with_outcome = [human for human in corpus.dialogues if human.outcome is not None]
        known = [human for human in with_outcome if human.split == config.split]
        for human in with_outcome:
            if human.split == "train":
                train.setdefault(human.domain, {})[human.scenario_id] = human
        calm = sorted(
            (human for human in known if not human.crisis),
            key=lambda human: human.scenario_id,
        )
        crises += len(known) - len(calm)
        if not calm:
            raise ConfigError(
                f"{name}: no dialogue of the {config.split} split has an outcome; give a larger file or another --split"
            )
        if config.max_dialogues is not None and len(calm) > config.max_dialogues:
            calm = Random(derive_seed(config.seed, "card")).sample(calm, config.max_dialogues)
        for human in sorted(calm, key=lambda human: human.scenario_id):
            selected.setdefault(human.domain, {})[human.scenario_id] = human
    by_domain, of_train = (
        {domain: tuple(humans.values()) for domain, humans in sorted(part.items())} for part in (selected, train)
    )
    return HeldOut(by_domain, of_train, crises)


def simulator_labels(adapters: tuple[str, ...], base: ModelRef | None) -> dict[str, str]:
    """Each simulator's name on the card and its adapter folder ("" for `bare`), in the given order.

    A folder is named by the last two parts of its path. ConfigError for a repeated name and for `policy`; ModelError for an adapter that does not
    fit `base` (None: not checked, because a server has the weights).
    """
    labels: dict[str, str] = {}
    for name in adapters:
        if name == POLICY_MODEL:  # engine.simulators may name it
            raise ConfigError(
                "--adapter policy: all simulators here have the model of engine.simulator_model; name others with --adapter, or set "
                "engine.simulator_model to the policy's model and use --adapter bare"
            )
        folder = adapter_folder(name)
        if folder is None:
            raise ConfigError("--adapter is empty: use embedded, bare or the folder of an adapter")
        label = name if name in (EMBEDDED, BARE) else "/".join(Path(folder).resolve().parts[-2:])
        if label in labels:
            raise ConfigError(f"--adapter {name}: {label} is on the card already; name each simulator once")
        labels[label] = folder
        if folder and base is not None:
            check_adapter(labels[label], base)
    return labels


def simulator_alone(engine: EngineConfig) -> EngineConfig:
    """The simulator's model without the configured adapters; each request names its own adapter."""
    if not model_names(engine):
        return engine
    alone = {
        "policy_model": engine.simulator_model,
        "policy_adapter": BARE,
        "simulator_adapter": BARE,
        "simulators": (),
    }
    return engine.model_copy(update=alone)
