"""The bootstrap: intervals of a statistic; whole units (scenarios, dialogues, trees) are resampled."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9_999
MAX_RESAMPLES = 1_000_000
LEAST_DEFINED = 0.9
"""Least share of resamples on which the statistic must exist (both outcomes sampled, say) to give an interval."""
_BATCH = {1: 1_000, 2: 10_000}
"""Resamples per batch, by the number of samples (more than two: as two). With one sample the batch size does not change the draws; with
more it does."""

Bounds = tuple[float | None, float | None]
Counts = NDArray[np.float64]
"""How often each unit was sampled, shape (resamples, units); a row of ones is the sample itself."""
Statistic = Callable[..., NDArray[np.float64]]
"""From `Counts` (one argument per sample) to one number per resample, or a row of numbers per figure; NaN if undefined."""


def resamples(confidence: float) -> int:
    """Number of resamples: RESAMPLES, or more if about twenty draws beyond each bound need it; at most MAX_RESAMPLES."""
    return min(MAX_RESAMPLES, max(RESAMPLES, math.ceil(40 / (1 - confidence))))


def interval(sizes: Sequence[int], statistic: Statistic, confidence: float = CONFIDENCE, seed: int = 0) -> Bounds:
    """Percentile interval of a statistic of independent samples, given the number of units of each; None if it has none.

    None with fewer than two units, and if the statistic exists on less than LEAST_DEFINED of the resamples.
    """
    return intervals(sizes, statistic, 1, confidence, seed)[0]


def intervals(
    sizes: Sequence[int], statistic: Statistic, figures: int, confidence: float = CONFIDENCE, seed: int = 0
) -> list[Bounds]:
    """The same for several figures from the same resamples."""

    def on_places(*places: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
        return statistic(*(_counts(drawn, size) for drawn, size in zip(places, sizes, strict=True)))

    if min(sizes) < 2:
        return [(None, None)] * figures
    bounds = _drawn([np.arange(size) for size in sizes], on_places, confidence, seed, "percentile")
    return [_percentiles(row, confidence) for row in np.atleast_2d(bounds.bootstrap_distribution)]


def mean_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE, seed: int = 0) -> Bounds:
    """BCa interval of a mean (Efron 1987); percentiles if BCa is not defined; the point itself if all values are equal."""
    if len(values) < 2:
        return None, None
    if np.ptp(values) < 1e-12:
        return float(values[0]), float(values[0])
    bounds = _drawn([values], np.mean, confidence, seed, "BCa")
    low, high = (float(bound) for bound in bounds.confidence_interval)
    return (
        (low, high)
        if math.isfinite(low) and math.isfinite(high)
        else _percentiles(bounds.bootstrap_distribution, confidence)
    )


def _drawn(
    samples: Sequence[NDArray[Any]],
    statistic: Callable[..., Any],
    confidence: float,
    seed: int,
    method: Literal["percentile", "BCa"],
) -> Any:
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about resamples without a value and undefined BCa intervals
        return bootstrap(
            samples,
            statistic,
            vectorized=True,
            method=method,
            confidence_level=confidence,
            n_resamples=resamples(confidence),
            batch=_BATCH[min(2, len(samples))],
            rng=np.random.default_rng(seed),
        )


def _percentiles(drawn: NDArray[np.float64], confidence: float) -> Bounds:
    if np.isfinite(drawn).mean() < LEAST_DEFINED:
        return None, None
    low, high = np.nanquantile(drawn, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def _counts(places: NDArray[np.intp], size: int) -> Counts:
    """From sampled places, shape (resamples, size), to how often each place was sampled."""
    rows = places.astype(np.intp, copy=False).reshape(-1, size)
    flat = (rows + size * np.arange(len(rows))[:, None]).ravel()
    return np.bincount(flat, minlength=size * len(rows)).reshape(len(rows), size).astype(float)
