"""Loading the images of a source."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from PIL import Image

from sparring.base.errors import UserError
from sparring.data.decoded import Decoding, Method
from sparring.data.samples import Data, image_data
from sparring.data.sources.decode import Target
from sparring.data.sources.fitting import fitted_remarks
from sparring.data.sources.reading import Metadata, read_images
from sparring.data.sources.records import Side
from sparring.data.sources.source import Source
from sparring.data.store.pixels import StackInFile, StackInMemory, Stored

ONE_SIZE = Method(read_images, StackInMemory, StackInFile)


def load_images(source: Source, target: Target) -> Data:
    """All images of a source at the target size, from the cache or decoded; grey if every image is grey.

    Broken images are left out and listed in `notes`.

    Raises:
        UserError: no images, more than a tenth broken, different sizes without a target size, bad labels, or no disk
            space for images that exceed the memory bound.
    """

    def build(stored: list[Stored], metadata: Metadata) -> Data:
        (samples,) = stored
        assert isinstance(samples, torch.Tensor)
        return image_data(source.name, samples, *metadata[:4])

    return Decoding(source, [Side(target=target, channels=source.channels)], target, ONE_SIZE, build).data()


def resized(data: Data, target: Target) -> Data:
    """Decoded images resized to the target; raises UserError on points."""
    if target.size is None or data.form.shape[:0:-1] == target.size:
        return data
    if data.form.is_points:
        raise UserError(f"{data.name} holds points, but --size is for images; remove --size")
    images = []
    for pixels in data.samples.permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        images.append(np.atleast_3d(np.asarray(target.apply(image))))
    samples = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    _, height, width = data.form.shape
    remarks = fitted_remarks(Counter({(width, height): len(data)}), target)
    return image_data(data.name, samples, data.labels, data.form.classes, data.notes, remarks)
