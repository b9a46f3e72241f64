"""Real against fake before one critic: what tasks make, and what losses and penalties read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sparring.game.inputs import Code
from sparring.game.memory import Remembers
from sparring.networks.critic import Judgement

Batch = Mapping[str, Tensor]
Images = Mapping[str, Tensor]
Terms = dict[str, Tensor]
Critic = Callable[[Tensor, "Tensor | None"], "Tensor | Judgement"]
Side = Literal["discriminator", "generator"]


@dataclass(frozen=True)
class Moment:
    """Where a run stands: `step` counts from 0; `progress` is the share of the budget spent, in [0, 1]."""

    step: int = 0
    progress: float = 0.0


@dataclass
class Match:
    """Real against fake before one critic. Judgements are made on first use, so penalties reuse them.

    Attributes:
        critic: (samples, condition) -> logits, or a Judgement where the critic says more.
        real, fake: what is set against each other.
        real_condition, fake_condition: what the critic is told beside (a label, a source image), or None.
        codes, code: what the fakes were made of (InfoGAN): the kinds of codes, and their values [n, widths].
        paired: does each fake belong to the real sample in its place?
        again: did a match before it hold the same samples, for another critic? What looks at samples alone is then
            content with that one.
        pack: how many samples stand side by side as channels of one of `real` and `fake`.
        progress: the share of the run's budget that is spent, for what changes in its course.
    """

    critic: Critic
    real: Tensor
    fake: Tensor
    real_condition: Tensor | None = None
    fake_condition: Tensor | None = None
    codes: tuple[Code, ...] = ()
    code: Tensor | None = None
    paired: bool = False
    again: bool = False
    pack: int = 1
    progress: float = 0.0

    def judge(self, samples: Tensor, condition: Tensor | None) -> Judgement:
        """What the critic says of samples."""
        found = self.critic(samples, condition)
        return found if isinstance(found, Judgement) else Judgement(found)

    @cached_property
    def real_judgement(self) -> Judgement:
        return self.judge(self.real, self.real_condition)

    @cached_property
    def fake_judgement(self) -> Judgement:
        return self.judge(self.fake, self.fake_condition)

    @property
    def real_logits(self) -> Tensor:
        return self.real_judgement.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_judgement.logits


def packed(samples: Tensor, pack: int) -> Tensor:
    """[n, C, ...] -> [n // pack, pack * C, ...]: consecutive samples side by side as channels; a rest is left out."""
    if pack == 1:
        return samples
    whole = len(samples) // pack * pack
    groups: Tensor = samples[:whole].unflatten(0, (-1, pack))
    return groups.flatten(1, 2)


def unpacked(samples: Tensor, pack: int) -> Tensor:
    """The inverse of `packed`."""
    return samples if pack == 1 else samples.unflatten(1, (pack, -1)).flatten(0, 1)


@dataclass
class Outcome:
    """What one batch gave one player: the scalars whose sum it minimises, and what they were computed from."""

    terms: Terms
    made: Images
    matches: dict[str, Match]


@dataclass
class Turn:
    """One turn that was taken: terms averaged over micro-batches, the gradient's norm, each batch's outcome, and the
    weight that the adversarial term had among the terms."""

    terms: dict[str, float]
    gradient_norm: float
    outcomes: list[Outcome]
    weight: float = 1.0

    @property
    def loss(self) -> float:
        return sum(self.terms.values())

    @property
    def samples(self) -> int:
        """How many real samples were judged."""
        matches = [match for outcome in self.outcomes for match in outcome.matches.values()]
        return sum(len(match.real) * match.pack for match in matches if not match.again)

    def logits(self) -> tuple[Tensor, Tensor]:
        """The logits of all real and all generated samples, flat and detached."""
        matches = [match for outcome in self.outcomes for match in outcome.matches.values()]
        real = torch.cat([match.real_logits.detach().flatten() for match in matches])
        return real, torch.cat([match.fake_logits.detach().flatten() for match in matches])


class GameTask(Protocol):
    """What a game asks of its task; see `sparring.tasks.base.Task`, which says what each is."""

    @property
    def remembers(self) -> Remembers | None: ...

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch: ...

    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch: ...

    def generate(self, network: nn.Module, batch: Batch) -> Images: ...

    def shown(self, made: Images) -> Images: ...

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]: ...

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms: ...
