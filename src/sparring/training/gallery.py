"""Pictures of a run: the generator's output for the same inputs as training goes on."""

from __future__ import annotations

import sys
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor, nn

from sparring.assemble.build import HeldOut
from sparring.assemble.sampling import draw_gallery, draw_samples, generate_outputs
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
IMAGES_SHOWN = 8  # source images in the picture of an image-to-image task


class Gallery:
    """Saves pictures of one run, always from the same latents or, for image-to-image tasks, the same source images."""

    def __init__(self, run: Run, data: Data, held_out: HeldOut) -> None:
        self.run, self.data, self.held_out = run, data, held_out

    def save(self, state: State) -> None:
        """Save the picture of the state's step into the run's `samples/`."""
        task, network, form = state.task, state.sampling_network, self.data.form
        if task.directions[0].source:
            image = translation_sheet(task, network, self.sources)
        elif form.is_points:
            image = picture(form.to_stored(draw_samples(task, network, POINTS_SHOWN, seed=0)), form, self.data.samples)
        else:
            drawn, columns = draw_gallery(task, network, seed=0)
            image = picture(form.to_stored(drawn), form, self.data.samples, columns)
        save_image(image, self.run.samples / f"step-{state.step:09d}.png", self.run.fix)

    @cached_property
    def sources(self) -> Batch:
        """Held-out images, evenly spaced; training images if there are no held-out ones."""
        try:
            held_out = self.held_out.data
        except UserError as error:
            print(
                f"Note: pictures show training images, because held-out ones cannot be read: {error}", file=sys.stderr
            )
            held_out = None
        return evenly_spaced(self.data if held_out is None else held_out)


def evenly_spaced(data: Data) -> Batch:
    """A batch of at most `IMAGES_SHOWN` samples, evenly spaced over the data set."""
    count = min(IMAGES_SHOWN, len(data))
    return data.batch(torch.arange(count) * len(data) // count)


def translation_sheet(task: Task, network: nn.Module, images: Batch) -> Image.Image:
    """A picture of rows: the source images, the generator's output for them, and their targets."""
    inputs = task.prepare(images, torch.Generator().manual_seed(derive_seed(0, "gallery")))
    return sheet([shown(row, form) for row, form in task.show(inputs, generate_outputs(task, network, inputs))])


def shown(images: Tensor, form: Form) -> Tensor:
    """Images [n, C, H, W] as network input -> uint8 [n, 1 or 3, H, W]; pixels without a class are black."""
    return form.to_picture(form.to_stored(images))
