"""How far is the game itself from its end: has D learned its training images by heart, can a player still gain?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class CriticGap:
    """How differently a critic judges training images and held-out ones."""

    overfitting: float  # (mean train - mean held-out) / (mean train - mean fake) logit; 1: held-out images look fake
    ranking: float  # the chance that a training image's logit is above a held-out image's; 0.5 for no difference
    error: float  # standard error of `ranking`


def critic_gap(train: Tensor, held_out: Tensor, fake: Tensor) -> CriticGap:
    """Compare a critic's logits [n] of training images, held-out images and fakes, one a sample.

    Source: Karras et al. 2020 (ADA), equation 1; the ranking is a Mann-Whitney statistic.
    """
    train, held_out, fake = (logits.detach().double().cpu().flatten() for logits in (train, held_out, fake))
    apart = (train.mean() - fake.mean()).item()
    gap = (train.mean() - held_out.mean()).item()
    error = ranking_error(len(train), len(held_out))
    return CriticGap(gap / apart if apart else 0.0, ranking(train, held_out), error)


def ranking(above: Tensor, below: Tensor) -> float:
    """The chance that one of the values `above` exceeds one of `below` (a tie counts half): the area under the ROC
    curve, a Mann-Whitney statistic. Any shapes."""
    from scipy import stats

    first, second = (values.detach().double().cpu().flatten().numpy() for values in (above, below))
    return float(stats.mannwhitneyu(first, second).statistic) / (len(first) * len(second))


def ranking_error(above: int, below: int) -> float:
    """The standard error of `ranking` for n and m values of one distribution: sqrt((n + m + 1) / (12 n m)).

    Source: Mann and Whitney 1947.
    """
    return float(((above + below + 1) / (12 * above * below)) ** 0.5)
