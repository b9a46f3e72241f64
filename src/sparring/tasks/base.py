"""Base classes of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from sparring.base.fields import Limited
from sparring.data.form import Form
from sparring.data.layout import Layout, Single
from sparring.data.samples import Data
from sparring.game.condition import ConditionSpec
from sparring.game.game import Game
from sparring.game.match import Batch, Images, Match, Terms
from sparring.game.memory import Stateful

# builds a network from the recipe's text with leading and named arguments
Make: TypeAlias = "Callable[[tuple[object, ...], Mapping[str, object]], nn.Module]"


@dataclass(frozen=True)
class Direction:
    """A mapping that the generator learns; a task has one or several. The doctor examines each.

    Attributes:
        name: "" for the main direction; otherwise the suffix of its metrics, such as "back".
        made: key of the generated images.
        real: batch key of the real images they are compared with.
        source: batch key of the source images; "" if the source is no image.
        paired: `real` is the target of `source`, one for one.
        match: prefix of the names of its matches.
    """

    name: str = ""
    made: str = "fake"
    real: str = "real"
    source: str = ""
    paired: bool = False
    match: str = ""


class Task(Limited, ABC):
    """Base class of tasks: inputs, outputs and extra loss terms of the generator.

    A task does not touch autograd flags or optimisers. A sub-class implements the abstract methods and overrides
    others as needed.

    Attributes:
        use: command that uses a finished run of this task.
        directions: the learned mappings, the main one first; further ones, such as B to A, have a name.
    """

    use: ClassVar[str] = "sparring sample {run} --count 64 --out more.png"
    directions: ClassVar[tuple[Direction, ...]] = (Direction(),)

    @property
    def layout(self) -> Layout:
        """Layout of its data: single samples, pairs, or two unpaired sets."""
        return Single()

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of its default scores in `sparring.evaluation.similarity.SIMILARITY`, the main one first.

        Empty for tasks that generate from noise, which `sparring.evaluation.measures.MEASURES` scores.
        """
        return ()

    @property
    def baseline_name(self) -> str:
        """Name of the baseline that results are compared with; "" without one."""
        return ""

    @property
    def conditioning(self) -> tuple[ConditionSpec, ...]:
        """Conditions that `draw` draws for generated samples, and that a user can request."""
        return ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that a user can request."""
        return next((spec.names for spec in self.conditioning if spec.kind == "label"), ())

    @abstractmethod
    def for_data(self, form: Form) -> Task:
        """This task for data of this form; call it before the methods below. UserError: the data does not fit."""

    @abstractmethod
    def build_generator(self, make: Make) -> nn.Module:
        """Build the generator from one or several of the recipe's networks."""

    @abstractmethod
    def build_discriminator(self, make: Make) -> nn.Module:
        """Build the discriminator from one or several of the recipe's networks."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch:
        """Draw the random inputs of `count` samples, such as latents, on the CPU."""
        return {}

    def gallery(self, generator: torch.Generator) -> tuple[Batch, int]:
        """Draw the inputs of a run's sample pictures, row by row, on the CPU; also return the number of columns."""
        return self.draw(64, generator), 8

    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """Add to a batch what is computed from its samples, such as degraded copies, on the CPU."""
        return batch

    @property
    def prepares(self) -> bool:
        """`prepare` computes something, so it needs the samples as floats on the CPU."""
        return type(self).prepare is not Task.prepare

    @abstractmethod
    def generate(self, network: nn.Module, batch: Batch) -> Images:
        """Run the generator on a prepared batch with the inputs of `draw`; the main output has the key `fake`."""

    def sample_pixels(self, batch: Batch) -> int:
        """Pixels of one generated sample; sampling limits its memory by them."""
        return batch["real"][0, :1].numel() if "real" in batch else 1

    def discriminator_images(self, made: Images) -> Images:
        """Generated images for the discriminator's turn, such as with some replaced from a history of earlier ones."""
        return made

    @abstractmethod
    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        """Pair generated with real samples for each critic of the discriminator `network`: matches by name."""

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        """Further loss terms of the generator `network` (L1, cycle consistency): scalars by name, weights included."""
        return {}

    def show(self, batch: Batch, made: Images) -> list[tuple[Tensor, Form]]:
        """Rows of a sample picture: images [n, C, H, W] in network range with their forms. Empty: `gallery` is used."""
        return []

    @property
    def stateful(self) -> Stateful | None:
        """The stateful component of the task, or None."""
        return None


class Translating(Task):
    """A task whose generator turns one image into another."""

    use: ClassVar[str] = "sparring apply {run} --input IMAGE --out FOLDER"
    directions: ClassVar[tuple[Direction, ...]] = (Direction(source="source", paired=True),)

    @abstractmethod
    def translator(self, network: nn.Module) -> Translator:
        """How to apply the trained generator to an image."""

    @property
    @abstractmethod
    def scores(self) -> tuple[str, ...]: ...

    @abstractmethod
    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        """A baseline without a network, such as interpolation: batch -> images like those of `generate`, on the CPU.

        It may use the training data.
        """

    @property
    @abstractmethod
    def baseline_name(self) -> str: ...

    def compared(self, images: Tensor) -> Tensor:
        """Part of images, uint8 [n, C, H, W], that PSNR and SSIM compare: levels from 0 to 255."""
        return images.float()

    @property
    def degradation(self) -> str:
        """Degradation of the sources, as text, because scores depend on it; "" if none."""
        return ""

    def back(self, network: nn.Module) -> Translator | None:
        """How to apply the generator from B to A, or None."""
        return None

    @property
    @abstractmethod
    def forms(self) -> tuple[Form, Form]:
        """Forms of sources and targets."""

    def show(self, batch: Batch, made: Images) -> list[tuple[Tensor, Form]]:
        """Rows of sources, outputs and targets."""
        source, target = self.forms
        return [(batch["source"], source), (made["fake"], target), (batch["real"], target)]


@dataclass(frozen=True)
class Translator:
    """How to apply a trained generator to one image.

    Attributes:
        run: source [1, C, h, w] in network range (images in [-1, 1], maps one-hot) and mask [1, 1, h, w] (1: fill) or
            None -> [1, C', scale * h, scale * w] (images in [-1, 1], or class scores), for any h and w from 1.
        source: form of the sources.
        target: form of the outputs.
        scale: size of the output relative to the source.
        reach: an output pixel depends on source pixels up to this distance; None: on the whole image (instance norm).
        wants_mask: `run` needs a mask.
        stride: tiles give the same result as the whole image if they begin at multiples of it.
        ignore: id of "no class" in sources that are class maps, in addition to 255.
    """

    run: Callable[[Tensor, Tensor | None], Tensor]
    source: Form
    target: Form
    scale: int = 1
    reach: int | None = None
    wants_mask: bool = False
    stride: int = 1
    ignore: int | None = None


def task_of(game: Game) -> Task:
    """The task of a game as a full `Task`; a game itself needs only `GameTask`."""
    assert isinstance(game.task, Task)
    return game.task
