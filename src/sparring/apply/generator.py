"""A trained generator, ready to use."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from sparring.apply import apply_image
from sparring.apply.arrays import Picture, as_content
from sparring.assemble.build import build_generator, build_task
from sparring.assemble.sampling import draw_made, make_samples
from sparring.assemble.state import find_checkpoint
from sparring.base.components import trusted
from sparring.base.device import find_device
from sparring.base.errors import UserError, check_number, did_you_mean
from sparring.data.form import Form
from sparring.game.condition import FAKE, NOTHING, Condition, in_rows
from sparring.recipe import Recipe
from sparring.run.checkpoint import load as load_tensors
from sparring.run.checkpoint import restore_network, under
from sparring.run.directory import Run
from sparring.tasks.base import Task, Translating, Translator


class TrainedGenerator:
    """A generator from a run, in evaluation mode: the torch module `network`, whose weights are the run's average where
    it has one, the recipe and task that it was trained with, its samples' form, and the training step."""

    def __init__(self, network: nn.Module, task: Task, recipe: Recipe, form: Form, step: int) -> None:
        self.network, self.task, self.recipe, self.form, self.step = network, task, recipe, form, step

    def sample(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor:
        """Draw n samples on the CPU: float32 images [n, C, H, W] in [-1, 1], or points [n, D] in the data's units.

        The same seed gives the same samples up to rounding, a larger n more of them. `label` asks for one class, by its
        name or number; without it classes are as frequent as in the data. Raises UserError if there is no such class,
        or the run has none, or turns images into others.
        """
        check_number("sample", "count", n, low=1, whole=True)
        if isinstance(self.task, Translating):
            raise UserError("the run turns images into others, it draws none: use sparring apply RUN --input IMAGE")
        wanted = NOTHING if label is None else Condition(label=torch.full((n,), self.class_of(label)))
        return self.form.to_units(draw_made(self.task, self.network, n, seed, wanted)[0])

    def sample_stored(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor:
        """The same samples as the data stores them: uint8 images, or points."""
        return self.stored(self.sample(n, seed=seed, label=label))

    def sample_labelled(self, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """Stored samples, and the classes [n] that they were made for, or None where the run has no classes."""
        made, condition = draw_made(self.task, self.network, n, seed)
        return self.stored(self.form.to_units(made)), condition.label

    def sample_rows(self, columns: int, *, seed: int = 0) -> Tensor:
        """Stored samples [classes * columns, ...], one row a class, all rows of the same latents."""
        check_number("sample", "count", columns, low=1, whole=True)
        drawn = self.task.draw(columns, torch.Generator().manual_seed(seed))
        inputs = in_rows(drawn, Condition(label=torch.arange(len(self.classes))).to_batch(FAKE))
        return self.stored(self.form.to_units(make_samples(self.task, self.network, inputs)))

    def stored(self, samples: Tensor) -> Tensor:
        """Samples in the data's units as the data stores them."""
        return samples if self.form.is_points else self.form.to_stored(samples)

    def apply(self, image: Picture, mask: Picture | None = None, tile: int = 0, *, back: bool = False) -> Image.Image:
        """Apply it to an image of any size: the result as an image, of class ids (mode L) if the run makes such.

        The image is a path, an image of PIL, or uint8 [H, W], [H, W, C] or [C, H, W] of 1, 3 or (with opacity) 4
        channels; the mask the same, as large as the image, or booleans: white (above 127) where it is to be filled.
        Images of more than tile*tile pixels are done in tiles, to spare memory; with 0, as the network needs it. `back`
        goes the way back, from B to A (CycleGAN). Raises UserError if the run makes samples from noise, or has no way
        back, the image cannot be read, or the mask is missing, not wanted or of another size.
        """
        contents = as_content("image", image), None if mask is None else as_content("mask", mask)
        names = _name("image", image), _name("mask", mask)
        return apply_image(self.translator_of(back), *contents, tile, self.device, names).image

    def blended(self, other: TrainedGenerator, share: float) -> TrainedGenerator:
        """A generator between this one and another of the same layers: their weights' mean, of which the other's have
        this share in [0, 1]; raises UserError if the layers differ. It makes sense where one was trained from the other
        (`--start`), as for super-resolution between sharp and faithful. Source: Wang et al. 2018 (ESRGAN), section 3.4.
        """
        check_number("blended", "share", share, low=0, high=1)
        ours, theirs = self.network.state_dict(), other.network.state_dict()
        if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
            raise UserError("the two runs' generators have other layers; blend runs of the same recipe")
        network = copy.deepcopy(self.network)
        mixed = {n: torch.lerp(t, theirs[n].to(t), share) if t.is_floating_point() else t for n, t in ours.items()}
        network.load_state_dict(mixed)
        return TrainedGenerator(network, self.task, self.recipe, self.form, self.step)

    def translator_of(self, back: bool = False) -> Translator:
        """How it is applied to one image, there or the way back; raises UserError if it makes samples from noise, or
        there is no way back."""
        if not isinstance(self.task, Translating):
            raise UserError("the run makes samples from noise, not from images: use sparring sample RUN")
        found = self.task.back(self.network) if back else self.task.translator(self.network)
        if found is None:
            raise UserError("the run goes one way only; the recipe cyclegan learns the way back as well")
        return found

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it can be asked for; raises UserError if it was trained without classes."""
        if not self.task.class_names:
            raise UserError(
                "the run was trained without classes; train with --task 'Generate(latent=Normal(64), classes=True)'"
            )
        return self.task.class_names

    def class_of(self, label: int | str) -> int:
        """The number of a class, by its name or number; a name that is a number counts as a name. Raises UserError if
        there is no such class, or there are no classes."""
        names, text = self.classes, str(label)
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        raise UserError(f"label {text!r}: {did_you_mean(text, names)}; or a number from 0 to {len(names) - 1}")


def load(
    run: str | Path, *, checkpoint: str = "last", device: str = "auto", trust: bool = False, raw: bool = False
) -> TrainedGenerator:
    """Load a run's generator; raises UserError if there is no such run or checkpoint, or it is damaged.

    Args:
        checkpoint: "last", "best" (by the run's scores), or a step such as "1200".
        device: cpu, cuda, mps or auto.
        trust: may component texts import code? Say so only of runs from people you trust.
        raw: take the generator's own weights, even where the run has an average of them.
    """
    folder = Run.open(Path(run))
    recipe = folder.read_recipe()
    _, form = folder.read_data()
    manifest = find_checkpoint(folder, checkpoint)
    tensors = load_tensors(folder.checkpoints, manifest)
    with trusted(trust), torch.random.fork_rng(devices=[]):  # the start of networks is seeded
        network, task = build_generator(recipe, form), build_task(recipe, form)
    average = {} if raw else under("average", tensors)
    restore_network(network, average or under("generator", tensors), "generator")
    network.requires_grad_(False).eval().to(find_device(device))
    return TrainedGenerator(network, task, recipe, form, manifest.step)


def _name(option: str, given: Picture | None) -> str:
    """What messages call an image."""
    return str(given) if isinstance(given, (str, Path)) else f"the {option}"
