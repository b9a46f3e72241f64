"""Matches: real and generated samples for one critic. Tasks create them; losses and penalties read them."""

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
from sparring.game.memory import Stateful
from sparring.networks.critic import CriticOutput
from sparring.networks.patch import resized

Batch = Mapping[str, Tensor]
Images = Mapping[str, Tensor]
Terms = dict[str, Tensor]
Critic = Callable[..., "Tensor | CriticOutput"]
Side = Literal["discriminator", "generator"]


@dataclass(frozen=True)
class Moment:
    """A point in a run.

    Attributes:
        step: steps taken, from 0.
        progress: share of the budget spent, in [0, 1].
    """

    step: int = 0
    progress: float = 0.0


@dataclass
class Match:
    """Real and generated samples for one critic. Its outputs are computed on first use and shared by all terms.

    Attributes:
        critic: (samples, *condition arguments or None) -> logits, or a `CriticOutput` with features, classes, codes.
        real: real samples.
        fake: generated samples.
        real_condition: condition of the real samples, such as a label or a source image.
        fake_condition: condition of the generated samples.
        codes: distributions of the codes that the fakes were generated from (InfoGAN).
        code: values of the codes [n, widths].
        paired: each fake corresponds to the real sample at its index.
        repeated: an earlier match already holds these samples, for another critic.
        scales: number of critics of one discriminator for the same samples, each in its own match.
        pack: samples concatenated as channels in each entry of `real` and `fake`.
        augment: augmentation of the critic's inputs.
        progress: share of the run's budget spent, for schedules.
        name: name of the match; stateful penalties use it to distinguish critics.
    """

    critic: Critic
    real: Tensor
    fake: Tensor
    real_condition: Condition = NOTHING
    fake_condition: Condition = NOTHING
    codes: tuple[Code, ...] = ()
    code: Tensor | None = None
    paired: bool = False
    repeated: bool = False
    scales: int = 1
    pack: int = 1
    augment: Augment | None = None
    progress: float = 0.0
    name: str = ""

    def judge(self, samples: Tensor, condition: Condition) -> CriticOutput:
        """Augment samples and run the critic on them; the output is in fp32 or better."""
        if self.augment is not None:
            samples, condition = augmented(self.augment, samples, condition, self.progress, self.pack)
        output = self.critic(samples, *(condition.arguments or (None,)))
        return (output if isinstance(output, CriticOutput) else CriticOutput(output)).float()

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

    @property
    def known_logits(self) -> dict[str, Tensor]:
        """The logits that are computed so far, by "real" and "fake"."""
        outputs = {"real": vars(self).get("real_output"), "fake": vars(self).get("fake_output")}
        return {kind: output.logits for kind, output in outputs.items() if output is not None}


def packed(samples: Tensor, pack: int) -> Tensor:
    """Concatenate consecutive samples as channels, [n, C, ...] -> [n // pack, pack * C, ...]; drops a remainder."""
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
    """Augment images, each of a pack separately, and their condition.

    The condition's image is resized to the images and gets the same geometric changes; the rest stays unchanged.
    UserError: the condition has an image, and the augmentation is no `SplitAugment`.
    """
    if condition.image is None:
        return packed(augment(unpacked(images, pack), progress), pack), condition
    if not isinstance(augment, SplitAugment):
        given = f"augmentation {type(augment).__name__} does not separate geometric changes, which a source image needs"
        fix = "derive it from sparring.game.augment.SplitAugment, or set conditional=False in the task"
        raise UserError(f"{given}; {fix}")
    images, moved = augment.together(images, resized(condition.image, images).to(images.dtype), progress)
    return images, replace(condition, image=moved)


class GameTask(Protocol):
    """The part of a task that a game uses; `sparring.tasks.base.Task` documents it."""

    @property
    def stateful(self) -> Stateful | None: ...
    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch: ...
    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch: ...
    def generate(self, network: nn.Module, batch: Batch) -> Images: ...
    def discriminator_images(self, made: Images) -> Images: ...
    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]: ...
    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms: ...
