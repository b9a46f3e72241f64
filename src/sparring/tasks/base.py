"""What a task is: what the generator is given, and what its output is set against."""

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

# the recipe's network text, built with leading and named arguments
Make: TypeAlias = "Callable[[tuple[object, ...], Mapping[str, object]], nn.Module]"


@dataclass(frozen=True)
class Direction:
    """What the generator learns to make, and of what: one of a task's ways, for whoever looks at it (the doctor)."""

    name: str = ""  # "" of what the task is for; of another way what its numbers are told apart by
    made: str = "fake"  # the name among the images that are made
    real: str = "real"  # the name, in batches, of the images that these are set against
    source: str = ""  # the name, in batches, of what they are made of; "" where that is no image
    paired: bool = False  # `real` is what should become of `source`, one for one
    match: str = ""  # what the names of its matches begin with


class Task(Limited, ABC):
    """Never touches autograd flags or optimisers. A sub-class says what is abstract, and what it needs of the rest."""

    use: ClassVar[str] = "sparring sample {run} --count 64 --out more.png"  # the command that uses a run of it
    # what is learnt, the way that the task is for first; those after it, such as the way back, have a name
    directions: ClassVar[tuple[Direction, ...]] = (Direction(),)

    @property
    def layout(self) -> Layout:
        """Which data it is for: single samples, pairs, or two sets."""
        return Single()

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of its usual scores in `sparring.evaluation.similarity.SIMILARITY`, the deciding one first; none of
        a task whose generator makes samples, which are scored by `sparring.evaluation.measures.MEASURES`."""
        return ()

    @property
    def baseline_name(self) -> str:
        """The name of the trivial way that its results are compared with; "" without one."""
        return ""

    @property
    def conditioning(self) -> tuple[ConditionSpec, ...]:
        """The conditions that `draw` draws for the fakes, and that samples can be asked for."""
        return ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that samples can be asked for."""
        return next((spec.names for spec in self.conditioning if spec.kind == "label"), ())

    @abstractmethod
    def for_data(self, form: Form) -> Task:
        """The same task for data of this form; what follows asks that one."""

    @abstractmethod
    def build_generator(self, make: Make) -> nn.Module:
        """The generator, of one or several of the recipe's networks."""

    @abstractmethod
    def build_discriminator(self, make: Make) -> nn.Module:
        """The discriminator, of one or several of the recipe's networks."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch:
        """The random inputs of `count` samples (such as latents), on the CPU."""
        return {}

    def gallery(self, generator: torch.Generator) -> tuple[Batch, int]:
        """The inputs of the run's pictures, row by row, on the CPU, and the number of columns."""
        return self.draw(64, generator), 8

    def prepare(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """The batch with what follows from its samples (such as their degraded copies), on the CPU."""
        return batch

    @abstractmethod
    def generate(self, network: nn.Module, batch: Batch) -> Images:
        """Run the generator on a batch that was prepared and holds what `draw` gave; `fake` is what it is for."""

    def sample_pixels(self, batch: Batch) -> int:
        """How many pixels a sample has that is made of this batch: sampling bounds its memory by them."""
        return batch["real"][0, :1].numel() if "real" in batch else 1

    def discriminator_images(self, made: Images) -> Images:
        """What the discriminator is shown in its turn of what was made just now."""
        return made

    @abstractmethod
    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        """Set what the generator made against the batch, before the discriminator `network`."""

    def extra_terms(self, network: nn.Module, batch: Batch, made: Images) -> Terms:
        """Scalars that the generator `network` minimises besides (L1, cycle consistency)."""
        return {}

    def show(self, batch: Batch, made: Images) -> list[tuple[Tensor, Form]]:
        """Rows of pictures [n, C, H, W] as networks see them, and their forms; none where the `gallery` is shown."""
        return []

    @property
    def stateful(self) -> Stateful | None:
        """The part of it that has a memory, if one has."""
        return None


class Translating(Task):
    """A task whose generator turns one image into another."""

    use: ClassVar[str] = "sparring apply {run} --input IMAGE --out FOLDER"
    directions: ClassVar[tuple[Direction, ...]] = (Direction(source="source", paired=True),)

    @abstractmethod
    def translator(self, network: nn.Module) -> Translator:
        """How the trained generator is applied to an image."""

    @property
    @abstractmethod
    def scores(self) -> tuple[str, ...]: ...

    @abstractmethod
    def baseline(self, train: Data) -> Callable[[Batch], Tensor]:
        """The trivial way, such as interpolation: what it makes of a batch, as `generate` makes it, on the CPU. It may
        have looked at the training data."""

    @property
    @abstractmethod
    def baseline_name(self) -> str: ...

    def compared(self, images: Tensor) -> Tensor:
        """What PSNR and SSIM look at of images, uint8 [n, C, H, W]: levels from 0 to 255."""
        return images.float()

    @property
    def degradation(self) -> str:
        """What it does to images before it turns them into others, as text: scores depend on it. "" if nothing."""
        return ""

    def back(self, network: nn.Module) -> Translator | None:
        """How the generator of the way back is applied, if there is one."""
        return None

    @property
    @abstractmethod
    def forms(self) -> tuple[Form, Form]:
        """What sources and targets look like."""

    def show(self, batch: Batch, made: Images) -> list[tuple[Tensor, Form]]:
        """What went in, what came out, and what it should be."""
        source, target = self.forms
        return [(batch["source"], source), (made["fake"], target), (batch["real"], target)]


@dataclass(frozen=True)
class Translator:
    """How a trained generator is applied to one image."""

    # a source [1, C, h, w] as networks see it (images in [-1, 1], maps one-hot) and a mask [1, 1, h, w] (1: to fill) or
    # None -> [1, C', scale*h, scale*w] (images in [-1, 1], or scores of classes); any h, w >= 1
    run: Callable[[Tensor, Tensor | None], Tensor]
    source: Form
    target: Form
    scale: int = 1  # how many times larger the output is
    # an output pixel depends on source pixels at most so far away; None: on the whole image (instance norm)
    reach: int | None = None
    wants_mask: bool = False  # a mask is needed
    stride: int = 1  # parts of an image are done as the whole is if they begin at multiples of it
    ignore: int | None = None  # the id in sources of class ids that stands for no class, besides 255


def task_of(game: Game) -> Task:
    """The task of a game, which asks less of one than what else looks at it."""
    assert isinstance(game.task, Task)
    return game.task
