"""Hard against soft labels on planted label noise, with tabular policies: `python -m engage.experiments.label_noise` prints a table.

A world has prompts of `REPLIES` replies each; their true values are standard normal, and the reference prefers none. Pairs of replies of a
prompt are labelled by their values; then each label is flipped with a probability ε, which its pair states (P = 1 − ε). So the stated P is
exactly right, and does not depend on the difference of the values. Policies are trained on the same pairs with the losses of
`engage.training`.
"""

import argparse
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from engage.stats import Estimate, mean
from engage.training import DpoSettings
from engage.training.losses import MOST_NOISE, pair_losses

Labels = Literal["hard", "conservative", "robust"]
LEVELS = {
    "10 % (0 to 20 %)": (0.0, 0.2),
    "25 % (0 to 50 %)": (0.0, 0.5),
    "40 % (30 to 50 %)": (0.3, 0.5),
    "10 % each": (0.1, 0.1),
    "25 % each": (0.25, 0.25),
    "40 % each": (0.4, 0.4),
}
"""The range of ε, which is uniform within it."""
PROMPTS, REPLIES = 32, 8
FIGURES = ("true accuracy", "true value")
"""The share of reply pairs that the policy orders by their values, ties as half; and the mean value of the policy's replies."""


def learnt(level: tuple[float, float], settings: DpoSettings, seeds: int, pairs: int, steps: int) -> Any:
    """Figures [seeds, 2] of a policy trained on `pairs` pairs a prompt, in `steps` full-batch steps of Adam, in each of `seeds` worlds.

    ε is uniform within `level`. A world depends on its seed and the level, not on the settings.
    """
    import torch

    values, first, second, noise = (
        torch.tensor(np.stack(part)) for part in zip(*worlds(level, seeds, pairs), strict=True)
    )
    gains = torch.zeros(values.shape, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([gains], lr=0.1)
    one, stated = torch.ones_like(noise), noise.clamp(max=MOST_NOISE)
    for _ in range(steps):
        optimiser.zero_grad()
        logs = gains.log_softmax(-1)  # log policy − log reference, but for a constant
        pair = logs.gather(-1, first), logs.gather(-1, second)
        pair_losses(pair, (one, one), settings, stated).mean(dim=(1, 2)).sum().backward()
        optimiser.step()
    with torch.no_grad():
        order = (gains[..., None] - gains[..., None, :]).sign() * (values[..., None] - values[..., None, :]).sign()
        accuracy = 0.5 + 0.5 * order.sum(dim=(1, 2, 3)) / (PROMPTS * REPLIES * (REPLIES - 1))
        value = (gains.softmax(-1) * values).sum(-1).mean(-1)
        return torch.stack([accuracy, value], dim=1).numpy()


def worlds(level: tuple[float, float], seeds: int, pairs: int) -> Any:
    """Per seed: values [prompts, replies], chosen and rejected replies and ε, each [prompts, pairs]."""
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        values = random.normal(size=(PROMPTS, REPLIES))
        both = random.permuted(np.tile(np.arange(REPLIES), (PROMPTS, pairs, 1)), axis=-1)[..., :2]
        worth = np.take_along_axis(values[:, None], both, axis=-1)
        noise = random.uniform(*level, size=(PROMPTS, pairs))
        swapped = (worth[..., 0] < worth[..., 1]) != (random.uniform(size=noise.shape) < noise)
        yield (
            values,
            np.where(swapped, both[..., 1], both[..., 0]),
            np.where(swapped, both[..., 0], both[..., 1]),
            noise,
        )


def compared(level: tuple[float, float], seeds: int, pairs: int, steps: int) -> dict[str, dict[str, Estimate]]:
    """Per figure: hard labels' mean over the worlds, and the mean paired differences of conservative and robust labels from it."""
    found: Mapping[str, Any] = {
        labels: learnt(level, DpoSettings(labels=labels), seeds, pairs, steps) for labels in get_args(Labels)
    }
    rows = {labels: found[labels] - (0 if labels == "hard" else found["hard"]) for labels in found}
    return {
        figure: {labels: mean(row[:, place]) for labels, row in rows.items()} for place, figure in enumerate(FIGURES)
    }


def main() -> None:
    """Print a table in Markdown for each figure."""
    parser = argparse.ArgumentParser(prog="python -m engage.experiments.label_noise")
    for name, default in (("--seeds", 40), ("--pairs", 24), ("--steps", 100)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    found = {name: compared(level, given.seeds, given.pairs, given.steps) for name, level in LEVELS.items()}
    for figure in FIGURES:
        print(f"\n| wrong labels | {figure}, hard | conservative − hard | robust − hard |\n|---|---:|---:|---:|")
        for name, figures in found.items():
            hard, *soft = (figures[figure][labels] for labels in get_args(Labels))
            apart = (f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in soft)
            print(f"| {name} | {hard.value:.3f} | {' | '.join(apart)} |")


if __name__ == "__main__":
    main()
