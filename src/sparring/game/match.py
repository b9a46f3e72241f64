"""Real against fake before one critic: what tasks make, and what losses and penalties read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.game.augment.base import Augment, SplitAugment
from sparring.game.condition import NOTHING, Condition
from sparring.game.inputs import Code
from sparring.game.memory import Remembers
from sparring.networks.critic import CriticOutput
from sparring.networks.patch import resized

Batch = Mapping[str, Tensor]
Images = Mapping[str, Tensor]
Terms = dict[str, Tensor]
Critic = Callable[..., "Tensor | CriticOutput"]
Side = Literal["discriminator", "generator"]


@dataclass(frozen=True)
class Moment:
    """Where a run stands: `step` counts from 0; `progress` is the share of the budget spent, in [0, 1]."""

    step: int = 0
    progress: float = 0.0


@dataclass
class Match:
    """Real against fake before one critic. CriticOutputs are made on first use, so penalties reuse them."""

    critic: Critic  # (samples, *parts of the condition, or None) -> logits, or a CriticOutput where it says more
    real: Tensor  # set against `fake`
    fake: Tensor
    real_condition: Condition = NOTHING  # what the critic is given beside them, such as a label or a source image
    fake_condition: Condition = NOTHING
    codes: tuple[Code, ...] = ()  # the kinds of codes that the fakes were made of (InfoGAN)
    code: Tensor | None = None  # and their values [n, widths]
    paired: bool = False  # each fake belongs to the real sample in its place
    again: bool = False  # an earlier match has the same samples, for another critic; it serves what looks at them alone
    scales: int = 1  # critics of one discriminator that judge the same samples, each in a match of its own
    pack: int = 1  # samples that stand side by side as channels of one of `real` and `fake`
    augment: Augment | None = None  # what changes samples before the critic sees them
    progress: float = 0.0  # the share of the run's budget that is spent, for what changes in its course
    name: str = ""  # what the game calls it, by which a penalty with a memory tells critics apart

    def judge(self, samples: Tensor, condition: Condition) -> CriticOutput:
        """What the critic says of samples, augmented; in fp32 (or better) whatever it computes in."""
        if self.augment is not None:
            samples, condition = augmented(self.augment, samples, condition, self.progress, self.pack)
        found = self.critic(samples, *(condition.arguments or (None,)))
        return (found if isinstance(found, CriticOutput) else CriticOutput(found)).float()

    @cached_property
    def real_output(self) -> CriticOutput:
        return self.judge(self.real, self.real_condition)

    @cached_property
    def fake_output(self) -> CriticOutput:
        return self.judge(self.fake, self.fake_condition)

    @property
    def real_logits(self) -> Tensor:
        return self.real_output.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_output.logits


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


def augmented(
    augment: Augment, images: Tensor, condition: Condition, progress: float, pack: int = 1
) -> tuple[Tensor, Condition]:
    """Images behind an augmentation, each of a pack by itself, and their condition: its image, in the images' size,
    shares the geometry; what is not spatial stays unchanged. UserError: the condition is spatial, and the augmentation
    does not split into geometry and colour."""
    if condition.image is None:
        return packed(augment(unpacked(images, pack), progress), pack), condition
    if not isinstance(augment, SplitAugment):
        fix = "derive it from sparring.game.augment.SplitAugment, or set conditional=False in the task"
        said = f"{type(augment).__name__} does not say what of it is geometry, which a source image shares"
        raise UserError(f"{said}; {fix}")
    images, moved = augment.together(images, resized(condition.image, images).to(images.dtype), progress)
    return images, replace(condition, image=moved)


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
