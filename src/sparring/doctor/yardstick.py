"""What samples are compared with in each look: the same real samples through the run."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.doctor import numbers

Numbers = dict[str, float]
TINY = 1e-12


class Yardstick:
    """Real samples, and what equally many other real samples give beside them.

    Args:
        train: seen training samples [n, d].
        known: more of them [m, d], among which copies are looked for, and which the cells are made of.
        compared: n seen real samples that are not among `train`; where `unseen`, no training saw them.
        unseen: is it so?
    """

    def __init__(self, train: Tensor, known: Tensor, compared: Tensor, unseen: bool) -> None:
        self.train, self.known, self.compared = train, known, compared
        self.cells, self.fresh = numbers.Cells(known), numbers.FreshCritic(train)
        far = numbers.nearest(compared, known) if unseen else numbers.nearest_other(known)
        self.usual = {
            "spread": max(numbers.spread(compared), TINY),
            "rank": numbers.effective_rank(compared),
            "cells": max(self.cells.filled(self.cells.counts(compared)), TINY),
            "far": max(float(numbers.nearest(compared, train).median()), TINY),
            "copies": max(float(far.median()), TINY),
        }
        self.before: Tensor | None = None

    def measure(self, fakes: Tensor) -> Numbers:
        """How seen fakes [n, d] of always the same latents spread, cover, copy, and went since the last time."""
        found = {
            "spread": numbers.spread(fakes) / self.usual["spread"],
            "rank": numbers.effective_rank(fakes) / self.usual["rank"],
            "cells": self.cells.filled(self.cells.counts(fakes)) / self.usual["cells"],
            "far/reals": float(numbers.nearest(self.compared, fakes).median()) / self.usual["far"],
            "far/fakes": float(numbers.nearest(fakes, self.train).median()) / self.usual["far"],
            "copies": float(numbers.nearest(fakes, self.known).median()) / self.usual["copies"],
            "fresh": self.fresh.area(self.train, fakes),
        }
        if self.before is not None:
            found["move"] = float((fakes - self.before).norm(dim=1).mean()) / max(numbers.spread(fakes), TINY)
        self.before = fakes
        return found


def judged(loss: object, real: Tensor, fake: Tensor, held_out: Tensor | None) -> Numbers:
    """What D says of training samples, of fakes, and of real samples that it was not trained on, in logits."""
    gap = (real.mean() - fake.mean()).item()
    train = real.flatten().cpu()
    found = {
        "signal": numbers.signal(loss, real, fake),  # type: ignore[arg-type]
        "area/train": numbers.area(train, fake.flatten().cpu()),
        "logit/scale": torch.cat([real.flatten(), fake.flatten()]).std().item(),
        "logit/gap": gap,
    }
    if held_out is not None:
        other = held_out.flatten().cpu()
        found |= {
            "area/held_out": numbers.area(other, fake.flatten().cpu()),
            "area/memory": (memory := numbers.area(train, other)),
            "area/memory deviations": (memory - 0.5) / numbers.area_error(len(train), len(other)),
            "overfitting": float(train.mean() - other.mean()) / max(abs(gap), TINY),
        }
    return found


def weights_norm(network: torch.nn.Module) -> float:
    """The norm of all of a network's weights together."""
    return float(torch.stack([p.detach().float().norm() for p in network.parameters()]).norm())
