"""Overfitting of a discriminator or critic: how it ranks training images above held-out images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class CriticGap:
    """Gap between a critic's logits of training images and of held-out images.

    Attributes:
        overfitting: (mean train - mean held-out) / (mean train - mean fake) logit; 0: none, 1: memorised.
        ranking: probability that a training image's logit exceeds a held-out image's; 0.5: no difference.
        error: standard error of `ranking`.
    """

    overfitting: float
    ranking: float
    error: float


def critic_gap(train: Tensor, held_out: Tensor, fake: Tensor) -> CriticGap:
    """Compare a critic's logits of training images, held-out images and generated images.

    Source: Karras et al. 2020 (ADA), equation 1; the ranking is a Mann-Whitney statistic.

    Args:
        train: one logit per training image [n].
        held_out: one logit per held-out image [m].
        fake: one logit per generated image [k].
    """
    train, held_out, fake = (logits.detach().double().cpu().flatten() for logits in (train, held_out, fake))
    apart = (train.mean() - fake.mean()).item()
    gap = (train.mean() - held_out.mean()).item()
    error = ranking_error(len(train), len(held_out))
    return CriticGap(gap / apart if apart else 0.0, ranking(train, held_out), error)


def ranking(above: Tensor, below: Tensor) -> float:
    """Area under the ROC curve: probability that a value of `above` exceeds one of `below`; a tie counts half.

    A Mann-Whitney statistic. The tensors may have any shapes.
    """
    from scipy import stats

    first, second = (values.detach().double().cpu().flatten().numpy() for values in (above, below))
    return float(stats.mannwhitneyu(first, second).statistic) / (len(first) * len(second))


def ranking_error(above: int, below: int) -> float:
    """Standard error of `ranking` for n and m values of one distribution: sqrt((n + m + 1) / (12 n m)).

    Source: Mann and Whitney 1947.

    Args:
        above: the count n.
        below: the count m.
    """
    return float(((above + below + 1) / (12 * above * below)) ** 0.5)
