"""The policy that is measured, and its null: the same training on the same pairs, with the sides of each swapped by a coin.

A null policy has learnt to write like its pairs, but not which of two replies is better. What it shows is what chance and style show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from pydantic import ValidationError

from engage.errors import ConfigError
from engage.files.digest import digest
from engage.files.refusal import first_refusal
from engage.models import ModelRef, adapter_fingerprint, check_adapter
from engage.seeds import derive_seed
from engage.training import AlignConfig, PreferencePair, drawn_pairs, set_aside, trained_on


@dataclass(frozen=True)
class Aligned:
    """A policy trained with DPO: its adapter, that of its start ("": the bare base), the pairs that it was trained on, and the training.

    `fingerprint` is that of the adapter's weights.
    """

    adapter: str
    start: str
    fingerprint: str
    pairs: tuple[PreferencePair, ...]
    training: AlignConfig

    @property
    def domains(self) -> set[str]:
        """The domains of its pairs."""
        return {pair.domain for pair in self.pairs}


def aligned(
    adapter: Path, base: ModelRef, start: Path | None, pairs: Sequence[PreferencePair], held_out: float
) -> Aligned:
    """The policy with what it was trained on; `held_out` is the share of scenarios that its training may have set aside.

    ModelError if it belongs to another base. ConfigError if it was not trained with DPO from `start` on these pairs: the null would be
    another training than the policy's.
    """
    card = check_adapter(adapter, base)
    if card.method != "dpo":
        raise ConfigError(f"{adapter}: was trained on dialogues, not on pairs; name a policy that was trained with DPO")
    if card.parent != (adapter_fingerprint(start) if start else None):
        raise ConfigError(
            f"{adapter}: did not start from {start or 'the bare model'}; name its start with --set engine.policy_adapter=FOLDER, "
            "or the cycle that trained it with --cycle"
        )
    try:
        training = AlignConfig.model_validate({name: card.config.get(name) for name in ("lora", "dpo")})
    except ValidationError as error:
        refused = first_refusal(error)
        raise ConfigError(
            f"{adapter}: its card's config.{'.'.join(refused.path)}: {refused.reason}; the nulls need the policy's own training settings: "
            "name an adapter that this version of engage trained"
        ) from error
    for some in (pairs, set_aside(pairs, held_out)[0]):
        if trained_on(card, drawn := drawn_pairs(some, training.dpo)):
            found = adapter_fingerprint(adapter)
            return Aligned(str(adapter), str(start or ""), found, tuple(drawn), training)
    raise ConfigError(
        f"{adapter}: was not trained on the {len(pairs)} pairs that the cycle has now; name the cycle that trained it with --cycle"
    )


def swapped(pairs: Sequence[PreferencePair], seed: int, number: int) -> list[PreferencePair]:
    """The pairs with the sides of about half of them swapped; each pair's coin depends on its content, the seed and the null's number."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if _coin(pair, seed, number) else pair
        for pair in pairs
    ]


def _coin(pair: PreferencePair, seed: int, number: int) -> bool:
    return Random(derive_seed(seed, "null", number, digest([pair.prompt, pair.chosen, pair.rejected]))).random() < 0.5
