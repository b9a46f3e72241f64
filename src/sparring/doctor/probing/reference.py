"""What samples are compared with in each look: the same real samples through the run."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.doctor.probing import statistics
from sparring.game.losses import Loss
from sparring.game.penalties.base import by_sample
from sparring.metrics.neighbours import nearest, usual_distances
from sparring.metrics.ranking import critic_gap, ranking

Numbers = dict[str, float]
TINY = 1e-12
POINT = 0.01  # of the spread of reals, below which fakes are one sample


class RealReference:
    """Real samples, and what equally many other real samples give beside them: `train` [n, d]; `known` [m, d], more of
    them, among which copies are looked for and which the cells are made of; `compared` [n, d], others than `train`,
    which no training saw where `unseen`.
    """

    def __init__(self, train: Tensor, known: Tensor, compared: Tensor, unseen: bool) -> None:
        self.train, self.known, self.compared = train, known, compared
        self.cells, self.fresh = statistics.Cells(known), statistics.FreshCritic(train)
        copies = usual_distances(known, compared if unseen else None)
        self.usual = {
            "spread": max(statistics.spread(compared), TINY),
            "effective_rank": statistics.effective_rank(compared),
            "mode_coverage": max(self.cells.filled(self.cells.counts(compared)), TINY),
            "distance": max(float(nearest(compared, train)[0].median()), TINY),
            "copies": max(float(copies.median()), TINY),
        }
        self.before: Tensor | None = None

    def measure(self, fakes: Tensor) -> Numbers:
        """How seen fakes [n, d] of always the same latents spread, cover, copy, and went since the last time."""
        found = {
            "spread": statistics.spread(fakes) / self.usual["spread"],
            "effective_rank": statistics.effective_rank(fakes) / self.usual["effective_rank"],
            "mode_coverage": self.cells.filled(self.cells.counts(fakes)) / self.usual["mode_coverage"],
            "distance/reals": float(nearest(self.compared, fakes)[0].median()) / self.usual["distance"],
            "distance/fakes": float(nearest(fakes, self.train)[0].median()) / self.usual["distance"],
            "copies": float(nearest(fakes, self.known)[0].median()) / self.usual["copies"],
            "fresh_critic_auc": self.fresh.area(self.train, fakes),
        }
        if self.before is not None:
            found["movement"] = float((fakes - self.before).norm(dim=1).mean()) / max(
                statistics.spread(fakes), POINT * self.usual["spread"]
            )
        self.before = fakes
        return found


def judged(loss: Loss | None, real: Tensor, fake: Tensor, held_out: Tensor | None) -> Numbers:
    """What D says of training samples, of fakes, and of real samples that it was not trained on, in logits [n, ...].
    Without a loss, `signal` is left out; that and the scale are of all logits, the rest of one for each sample: the
    patches of an image are no samples by themselves, for they overlap, and are of one image."""
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
