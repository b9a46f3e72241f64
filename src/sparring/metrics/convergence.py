"""How far is the game itself from its end: has D learned its training images by heart, can a player still gain?"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparring.errors import NotFiniteError
from sparring.match import Batch, Moment
from sparring.metrics.distribution import Estimate
from sparring.penalties.base import Side

if TYPE_CHECKING:
    from sparring.game import Game


@dataclass(frozen=True)
class CriticGap:
    """How differently a critic takes training images and held-out ones.

    Attributes:
        overfitting: (mean train - mean held-out) / (mean train - mean fake) logit: 0 none, 1 held-out images look fake.
        ranking: the chance that a training image's logit is above a held-out image's; 0.5 for no difference.
        error: standard error of `ranking`.
    """

    overfitting: float
    ranking: float
    error: float


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


@dataclass(frozen=True)
class DualityGap:
    """How much either player gains by answering the other one's present play as well as a few steps allow.

    Attributes:
        gap: best - worst, at least 0; 0 at the equilibrium.
        now: the value of the game, minus D's adversarial loss, on images that neither player trains on here.
        best: its highest value with copies of D trained against the present G.
        worst: its lowest value with copies of G trained against the present D.
    """

    gap: float
    now: float
    best: float
    worst: float


def duality_gap(game: Game, next_batch: Callable[[], Batch], judged: Sequence[Batch], steps: int = 200) -> DualityGap:
    """Estimate the duality gap of a game, which stays as it is.

    max over D' of V(G, D') - min over G' of V(G', D), with V minus D's adversarial loss. Both are looked for from
    copies of the present players, by `steps` turns of the recipe's own optimisers (at the learning rate that they began
    with) against the other player standing still, with the game's penalties. V is measured about ten times on the way
    on `judged`, and the best value counts; so it is a lower bound of the gap, but for the noise of `judged`.

    Args:
        game: the players; the generator's raw weights, not its average.
        next_batch: real samples and latents to train on.
        judged: real samples and latents to measure on.
        steps: turns of each copy.

    Source: Grnarova et al. 2019, equation 2 and section 4.
    """
    values = {side: _best_response(game, side, next_batch, judged, steps) for side in ("discriminator", "generator")}
    best, worst = max(values["discriminator"]), min(values["generator"])
    return DualityGap(best - worst, values["generator"][0], best, worst)


def _best_response(
    game: Game, side: Side, next_batch: Callable[[], Batch], judged: Sequence[Batch], steps: int
) -> list[float]:
    """The game's value while a copy of one player trains alone."""
    trained = dataclasses.replace(copy.deepcopy(game), learning_rate=1.0)
    values = [game_value(trained, judged).value]
    for step in range(1, steps + 1):
        try:
            trained.take_turn(side, [next_batch()], Moment(step, 1.0))
        except NotFiniteError:  # the copy diverged; what it reached before counts
            break
        if step % max(1, steps // 10) == 0 or step == steps:
            values.append(game_value(trained, judged).value)
    return values


@torch.no_grad()
def game_value(game: Game, batches: Sequence[Batch]) -> Estimate:
    """Minus the discriminator's adversarial loss over batches, with the standard error between batches (0 for one)."""
    networks = (game.generator.network, game.discriminator.network)
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    values = []
    for batch in batches:
        made = game.task.generate(game.generator.network, batch)
        matches = game.task.matches(game.discriminator.network, batch, made).values()
        losses = [game.loss.discriminator(m.real_logits.float(), m.fake_logits.float()).mean() for m in matches]
        values.append(-torch.stack(losses).mean())
    for network, mode in zip(networks, modes):
        network.train(mode)
    found = torch.stack(values).double()
    return Estimate(found.mean().item(), (found.std() / len(found) ** 0.5).item() if len(found) > 1 else 0.0)
