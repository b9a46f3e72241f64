"""The pictures of a run: what its generator makes of the same inputs through time."""

from __future__ import annotations

import sys
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor, nn

from sparring.assemble.build import HeldOut
from sparring.assemble.sampling import draw_gallery, draw_samples, make_images
from sparring.assemble.state import State
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.form import Form
from sparring.data.pictures import picture, save_image, sheet
from sparring.data.samples import Data
from sparring.game.match import Batch
from sparring.run.directory import Run
from sparring.tasks.base import Task

POINTS_SHOWN = 2000
IMAGES_SHOWN = 8  # of those that are turned into others


class Gallery:
    """Takes the pictures of one run: of the same latents, or images, unseen in training where there are such."""

    def __init__(self, run: Run, data: Data, held_out: HeldOut) -> None:
        self.run, self.data, self.held_out = run, data, held_out

    def take(self, state: State) -> None:
        task, network, form = state.task, state.sampling_network, self.data.form
        if task.directions[0].source:
            image = turned(task, network, self.images)
        elif form.is_points:
            image = picture(form.to_stored(draw_samples(task, network, POINTS_SHOWN, seed=0)), form, self.data.samples)
        else:
            drawn, columns = draw_gallery(task, network, seed=0)
            image = picture(form.to_stored(drawn), form, self.data.samples, columns)
        save_image(image, self.run.samples / f"step-{state.step:09d}.png", self.run.fix)

    @cached_property
    def images(self) -> Batch:
        """Images that the training does not see, spread over all of them; training images where there are no others."""
        try:
            held_out = self.held_out.data
        except UserError as error:
            print(f"Note: the pictures are of training images: {error}", file=sys.stderr)
            held_out = None
        return spread(self.data if held_out is None else held_out)


def spread(data: Data) -> Batch:
    """A few samples, spread over all of them."""
    count = min(IMAGES_SHOWN, len(data))
    return data.batch(torch.arange(count) * len(data) // count)


def turned(task: Task, network: nn.Module, images: Batch) -> Image.Image:
    """Images of `Data.batch`, what a generator makes of them, and what they should become, row by row."""
    inputs = task.prepare(images, torch.Generator().manual_seed(derive_seed(0, "gallery")))
    return sheet([shown(row, form) for row, form in task.show(inputs, make_images(task, network, inputs))])


def shown(images: Tensor, form: Form) -> Tensor:
    """Images [n, C, H, W] as networks see them -> uint8 [n, 1 or 3, H, W]; pixels of no class are black."""
    return form.to_picture(form.to_stored(images))
