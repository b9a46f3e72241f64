"""What generated samples are compared with: the same real samples at each probe of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.doctor.probing import statistics
from sparring.game.losses import Loss
from sparring.game.penalties.base import by_sample
from sparring.metrics.neighbours import nearest, reference_distances
from sparring.metrics.ranking import critic_gap, ranking

Metrics = dict[str, float]
TINY = 1e-12
POINT = 0.01  # share of the real samples' spread below which generated samples count as a single point


class RealReference:
    """Flat real samples, and what equally many other real samples measure against them.

    Args:
        train: Training samples [n, d].
        known: More training samples [m, d]: copies are looked for among them, and clusters are made of them.
        compared: Real samples [n, d] other than `train`.
        unseen: The training does not see `compared`.
    """

    def __init__(self, train: Tensor, known: Tensor, compared: Tensor, unseen: bool) -> None:
        self.train, self.known, self.compared = train, known, compared
        self.clusters, self.fresh_critic = statistics.Clusters(known), statistics.FreshCritic(train)
        copies = reference_distances(known, compared if unseen else None)
        self.usual = {
            "spread": max(statistics.spread(compared), TINY),
            "effective_rank": statistics.effective_rank(compared),
            "mode_coverage": max(self.clusters.covered(self.clusters.counts(compared)), TINY),
            "distance": max(float(nearest(compared, train)[0].median()), TINY),
            "copies": max(float(copies.median()), TINY),
        }
        self.previous: Tensor | None = None

    def measure(self, fakes: Tensor) -> Metrics:
        """Variety, coverage, copies and movement of flat fakes [n, d], which come from the same latents each time."""
        found = {
            "spread": statistics.spread(fakes) / self.usual["spread"],
            "effective_rank": statistics.effective_rank(fakes) / self.usual["effective_rank"],
            "mode_coverage": self.clusters.covered(self.clusters.counts(fakes)) / self.usual["mode_coverage"],
            "distance/reals": float(nearest(self.compared, fakes)[0].median()) / self.usual["distance"],
            "distance/fakes": float(nearest(fakes, self.train)[0].median()) / self.usual["distance"],
            "copies": float(nearest(fakes, self.known)[0].median()) / self.usual["copies"],
            "fresh_critic_auc": self.fresh_critic.auc(self.train, fakes),
        }
        if self.previous is not None:
            found["movement"] = float((fakes - self.previous).norm(dim=1).mean()) / max(
                statistics.spread(fakes), POINT * self.usual["spread"]
            )
        self.previous = fakes
        return found


def discriminator_metrics(loss: Loss | None, real: Tensor, fake: Tensor, held_out: Tensor | None) -> Metrics:
    """Metrics of D's logits [n, ...] for training samples, fakes, and real samples that it was not trained on.

    `signal` (left out without a loss) and `logit/scale` read all logits. The others read the mean per sample, because
    the patches of an image overlap and are no independent samples.
    """
    found = {} if loss is None else {"signal": statistics.signal(loss, real, fake)}
    found["logit/scale"] = torch.cat([real.flatten(), fake.flatten()]).std().item()
    real, fake = by_sample(real), by_sample(fake)
    found |= {"auc/train": ranking(real, fake), "logit/gap": (real.mean() - fake.mean()).item()}
    if held_out is not None:
        unseen = by_sample(held_out)
        memory = critic_gap(real, unseen, fake)
        found |= {
            "auc/held_out": ranking(unseen, fake),
            "auc/memory": memory.ranking,
            "auc/memory deviations": (memory.ranking - 0.5) / memory.error,
            "overfitting": memory.overfitting,
        }
    return found
