"""Load a trained generator, draw samples, and apply it to images."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from sparring.apply import apply_image
from sparring.apply.arrays import Picture, as_content
from sparring.assemble.build import build_generator, build_task
from sparring.assemble.sampling import draw_conditioned, generate_samples
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
    """A trained generator in evaluation mode. `sparring.load` returns it.

    Attributes:
        network: the torch module; it has the averaged weights (EMA) if the run has any.
        task: the task that it was trained for.
        recipe: the recipe that it was trained with.
        form: shape and range of its samples.
        step: the training step of its checkpoint.
    """

    def __init__(self, network: nn.Module, task: Task, recipe: Recipe, form: Form, step: int) -> None:
        self.network, self.task, self.recipe, self.form, self.step = network, task, recipe, form, step

    def sample(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor:
        """Draw samples from the generator.

        Args:
            n: number of samples, at least 1; a larger n appends to the samples of a smaller one.
            seed: the same seed gives the same samples, up to rounding.
            label: class to draw, by name or number; by default classes are as frequent as in the data.

        Returns:
            Float32 on the CPU: images [n, C, H, W] in [-1, 1], or points [n, D] in the data's units.

        Raises:
            UserError: there is no such class, the run has no classes, or it is an image-to-image run.
        """
        check_number("sample", "count", n, low=1, whole=True)
        if isinstance(self.task, Translating):
            raise UserError("the run is image to image, it draws no samples: use sparring apply RUN --input IMAGE")
        wanted = NOTHING if label is None else Condition(label=torch.full((n,), self.class_of(label)))
        return self.form.to_units(draw_conditioned(self.task, self.network, n, seed, wanted)[0])

    def sample_stored(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor:
        """Draw samples as `sample` does, in the data's format: uint8 images [n, C, H, W], or points [n, D]."""
        return self.stored(self.sample(n, seed=seed, label=label))

    def sample_labelled(self, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """Draw samples in the data's format; also return their classes [n], or None for a run without classes."""
        made, condition = draw_conditioned(self.task, self.network, n, seed)
        return self.stored(self.form.to_units(made)), condition.label

    def sample_rows(self, columns: int, *, seed: int = 0) -> Tensor:
        """Draw samples [classes * columns, ...] in the data's format: a row per class, the same latents in each row."""
        check_number("sample", "count", columns, low=1, whole=True)
        drawn = self.task.draw(columns, torch.Generator().manual_seed(seed))
        inputs = in_rows(drawn, Condition(label=torch.arange(len(self.classes))).to_batch(FAKE))
        return self.stored(self.form.to_units(generate_samples(self.task, self.network, inputs)))

    def stored(self, samples: Tensor) -> Tensor:
        """Convert samples from the data's units to its format: uint8 images, or points."""
        return samples if self.form.is_points else self.form.to_stored(samples)

    def apply(self, image: Picture, mask: Picture | None = None, tile: int = 0, *, back: bool = False) -> Image.Image:
        """Apply an image-to-image generator to an image of any size.

        Args:
            image: path, PIL image, or uint8 [H, W], [H, W, C] or [C, H, W] with C 1, 3 or 4 (RGBA).
            mask: for inpainting, an image or boolean array of the same size: white (above 127) is filled.
            tile: images of more than tile*tile pixels are processed in tiles, to save memory; 0 chooses a size.
            back: translate from B to A (CycleGAN).

        Returns:
            The output image; for segmentation, the class ids (mode L).

        Raises:
            UserError: the run generates from noise or has no B to A generator, the image cannot be read, or the mask
                is missing, not needed or of another size.
        """
        contents = as_content("image", image), None if mask is None else as_content("mask", mask)
        names = _name("image", image), _name("mask", mask)
        return apply_image(self.translator_of(back), *contents, tile, self.device, names).image

    def blended(self, other: TrainedGenerator, share: float) -> TrainedGenerator:
        """Interpolate the weights with those of another generator; returns a new one.

        Use it where one run was started from the other (`--start`), such as a sharp and a faithful super-resolution.
        Source: Wang et al. 2018 (ESRGAN), section 3.4.

        Args:
            other: a generator with the same layers.
            share: weight of the other generator, in [0, 1].

        Raises:
            UserError: the layers differ.
        """
        check_number("blended", "share", share, low=0, high=1)
        ours, theirs = self.network.state_dict(), other.network.state_dict()
        if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
            raise UserError("the generators of the two runs have different layers; blend runs of the same recipe")
        network = copy.deepcopy(self.network)
        mixed = {n: torch.lerp(t, theirs[n].to(t), share) if t.is_floating_point() else t for n, t in ours.items()}
        network.load_state_dict(mixed)
        return TrainedGenerator(network, self.task, self.recipe, self.form, self.step)

    def translator_of(self, back: bool = False) -> Translator:
        """The function that maps one image to another; `back` selects the direction B to A.

        Raises:
            UserError: the run generates from noise, or it has no generator from B to A.
        """
        if not isinstance(self.task, Translating):
            raise UserError("the run generates samples from noise, not from images: use sparring sample RUN")
        found = self.task.back(self.network) if back else self.task.translator(self.network)
        if found is None:
            raise UserError("the run translates from A to B only; for both directions: sparring train cyclegan")
        return found

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names.

        Raises:
            UserError: the run was trained without classes.
        """
        if not self.task.class_names:
            raise UserError(
                "the run was trained without classes; train with --task 'Generate(latent=Normal(64), classes=True)'"
            )
        return self.task.class_names

    def class_of(self, label: int | str) -> int:
        """The number of a class, given by name or number; a name that is a number counts as a name.

        Raises:
            UserError: there is no such class, or the run was trained without classes.
        """
        names, text = self.classes, str(label)
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        raise UserError(f"label {text!r}: {did_you_mean(text, names)}; or a number from 0 to {len(names) - 1}")


def load(
    run: str | Path, *, checkpoint: str = "last", device: str = "auto", trust: bool = False, raw: bool = False
) -> TrainedGenerator:
    """Load the generator of a run.

    Args:
        run: run directory.
        checkpoint: "last", "best" (by the run's scores), or a step such as "1200".
        device: "cpu", "cuda", "mps" or "auto".
        trust: allow component texts to import code; only for runs from people you trust.
        raw: load the trained weights instead of their moving average (EMA).

    Raises:
        UserError: there is no such run or checkpoint, or it is damaged.
    """
    folder = Run.open(Path(run))
    recipe = folder.read_recipe()
    _, form = folder.read_data()
    manifest = find_checkpoint(folder, checkpoint)
    tensors = load_tensors(folder.checkpoints, manifest)
    with trusted(trust), torch.random.fork_rng(devices=[]):  # building networks seeds the global generator
        network, task = build_generator(recipe, form), build_task(recipe, form)
    average = {} if raw else under("average", tensors)
    restore_network(network, average or under("generator", tensors), "generator")
    network.requires_grad_(False).eval().to(find_device(device))
    return TrainedGenerator(network, task, recipe, form, manifest.step)


def _name(option: str, given: Picture | None) -> str:
    """What error messages call an image."""
    return str(given) if isinstance(given, (str, Path)) else f"the {option}"
