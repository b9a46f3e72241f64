"""Random images and outcomes for tests of the scores of image-to-image runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sparring.apply.generator import TrainedGenerator
from sparring.data.form import Form
from sparring.data.samples import Data, image_data, joined
from sparring.evaluation.examples import Examples, Outcome
from sparring.evaluation.similarity import SIMILARITY
from sparring.metrics.extractors import Prepared, Random
from sparring.recipe import Recipe
from sparring.tasks import Restore
from sparring.tasks.base import Translating

CPU = torch.device("cpu")
CLOSE = 1e-4
SIZES = ((30, 40), (26, 33), (47, 21))


def noise(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def near(image: Tensor, seed: int, by: int = 30) -> Tensor:
    """The image with noise."""
    generator = torch.Generator().manual_seed(seed)
    return (image.long() + torch.randint(-by, by + 1, image.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


def prepare_random(data: Data) -> Prepared:
    return Random().prepare(data, CPU)


def examples(
    task: Translating,
    made: Sequence[Tensor],
    truth: Sequence[Tensor] | None,
    *,
    sources: Sequence[Tensor] | None = None,
    baseline: Sequence[Tensor] | None = None,
    masks: Sequence[Tensor] | None = None,
    returned: Sequence[Tensor] | None = None,
    tests: Data | None = None,
    prepare: Callable[[Data], Prepared] = prepare_random,
) -> Outcome:
    """An outcome of given outputs; sources and baseline default to the outputs."""
    tests = image_data("tests", torch.stack([made[0]])) if tests is None else tests
    sources, baseline = made if sources is None else sources, made if baseline is None else baseline
    return Outcome(Examples(task, tests, sources, truth, baseline, masks, prepare), made, returned)


def rows(found: Outcome) -> list[Any]:
    """One object per example with all its images; None for missing ones."""
    given = found.examples
    columns = {
        "source": given.sources,
        "made": found.images,
        "truth": given.truth,
        "baseline": given.baselines,
        "mask": given.masks,
        "returned": found.returned,
    }
    numbers = range(len(found.images))
    return [SimpleNamespace(**{n: None if c is None else c[i] for n, c in columns.items()}) for i in numbers]


def score(found: Outcome, name: str, which: str = "made") -> Any:
    """The only value of a score, with its error where there is one."""
    (value,) = SIMILARITY[name].compute(found if which == "made" else found.examples.baseline_outcome).values()
    return value


def missing(found: Outcome, name: str) -> str:
    """The unmet requirement of a score, in words."""
    return SIMILARITY[name].missing(found)


def wider(image: Tensor) -> Any:
    """[C, H, W] -> [H, W, C]."""
    return image.permute(1, 2, 0).contiguous().numpy()


def restore(*degrade: Any, shape: tuple[int, int, int] = (3, 32, 32)) -> Restore:
    return Restore(degrade=degrade[0] if len(degrade) == 1 else degrade).for_data(Form(shape))


def squares(*places: tuple[int, int, int, int], size: tuple[int, int] = (24, 24)) -> list[Tensor]:
    """A mask for each rectangle (top, left, height, width)."""
    masks = []
    for top, left, height, width in places:
        mask = torch.zeros(1, *size, dtype=torch.bool)
        mask[:, top : top + height, left : left + width] = True
        masks.append(mask)
    return masks


class Brightness(nn.Module):
    """A classifier that assigns bright images to the target set."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        bright = images.flatten(1).mean(1, keepdim=True)
        return bright, torch.cat([-bright, bright], 1)


def sets(a: Tensor, b: Tensor) -> Data:
    return joined("sets", image_data("a", a), image_data("b", b), paired=False)


class Half(nn.Module):
    """A network that halves its input, with `channels` channels and `scale` times the size."""

    def __init__(self, channels: int, scale: int = 1, factor: float = 0.5) -> None:
        super().__init__()
        self.channels, self.scale = channels, scale
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        wanted = images[:, :1].expand(-1, self.channels, -1, -1)
        return self.factor * wanted.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def trained(network: nn.Module, task: Translating, form: Form) -> TrainedGenerator:
    return TrainedGenerator(network, task, Recipe(), form, 3)


def as_input(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def levels(image: Any) -> Any:
    return ((image + 1) * 127.5).round().clip(0, 255)
