"""The loss of a preference pair: DPO's or IPO's, with a label that counts as certain or as wrong with a stated probability.

With m the gain of the chosen reply minus that of the rejected one (a gain is log policy − log reference), the loss ℓ(m) is

    sigmoid   −log σ(β·m)            m in nats per reply (Rafailov et al. 2023)
    ipo       (m − 1/(2β))²          m in nats per token (Azar et al. 2023, as trl has it)

and with ε the probability that the label is wrong the pair counts as

    hard           ℓ(m)
    conservative   (1 − ε)·ℓ(m) + ε·ℓ(−m)
    robust         ((1 − ε)·ℓ(m) − ε·ℓ(−m)) / (1 − 2ε)     (Chowdhury et al. 2024)

Conservative is the expected loss over both possible labels of this pair; with the sigmoid loss a pair's optimum is β·m = logit(1 − ε).
Robust has the expectation of the loss without the wrong labels if a share ε of many labels was flipped at random; their optimum is then
the unflipped one. For one pair the robust sigmoid loss has no minimum, and its slope grows as 1/(1 − 2ε): so ε is at most `MOST_NOISE`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engage.training.pairs import PreferencePair
from engage.training.trainer import DpoSettings

MOST_NOISE = 0.4


def label_noise(pair: PreferencePair) -> float:
    """The probability ε that the pair's label is wrong: 1 − `p_greater`, in [0, `MOST_NOISE`]; 0 for a pair that states no P (a human one).

    `p_greater` is the posterior probability that the store computes from the search. `engage experiment credit` measures whether it is
    calibrated; no corrected P is stored. A reviewer's `weight` is another matter: it multiplies the loss.
    """
    return 0.0 if pair.p_greater is None else min(max(1.0 - pair.p_greater, 0.0), MOST_NOISE)


def batch_loss(
    log_probs: Any, inputs: Mapping[str, Any], settings: DpoSettings, weight: Any = 1.0, noise: Any = None
) -> Any:
    """Mean over a batch's pairs of weight times loss; `log_probs` [2n, length − 1] of the replies' tokens, the chosen ones first."""
    chosen, rejected = log_probs.sum(1).chunk(2)
    lengths = inputs["completion_mask"].sum(1).chunk(2)
    gains = chosen - inputs["ref_chosen_logps"], rejected - inputs["ref_rejected_logps"]
    return (weight * pair_losses(gains, lengths, settings, noise)).mean()


def pair_losses(gains: Sequence[Any], lengths: Sequence[Any], settings: DpoSettings, noise: Any = None) -> Any:
    """Losses [n] of n pairs; `gains` in nats and `lengths` in tokens are each two tensors [n], of the chosen and of the rejected replies.

    `noise` [n] is each pair's ε; None, or hard labels: 0.
    """
    per = lengths if settings.loss == "ipo" else (1, 1)
    margin = gains[0] / per[0] - gains[1] / per[1]
    right = _loss(margin, settings)
    if noise is None or settings.labels == "hard":
        return right
    wrong = _loss(-margin, settings)
    if settings.labels == "conservative":
        return (1 - noise) * right + noise * wrong
    return ((1 - noise) * right - noise * wrong) / (1 - 2 * noise)


def _loss(margin: Any, settings: DpoSettings) -> Any:
    from torch.nn.functional import logsigmoid

    if settings.loss == "ipo":
        return (margin - 1 / (2 * settings.beta)) ** 2
    return -logsigmoid(settings.beta * margin)
