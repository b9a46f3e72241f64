"""What a sample looks like. Torch is loaded only where samples are converted, so viewers read a form at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparring.data.layout import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


def bytes_to_input(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], as networks see them."""
    return images.float().div_(127.5).sub_(1)


@dataclass(frozen=True)
class Form:
    """What a sample looks like, and how it becomes a network's input and back; a run keeps it beside its weights.

    Images are uint8 [C, H, W] and become [-1, 1]. Points [D] become (x - centre) / scale; `low` and `high` frame them.
    Maps (`map`) are uint8 [1, H, W] of ids of `classes`, and become one-hot; an id beyond them stands for no class.
    `counts` are how many samples (of maps, pixels) each class has, () without labels and in old runs; forms that differ
    in them alone are equal. `source` is the form of the images that these are made from, where there are such.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    counts: tuple[int, ...] = field(default=(), compare=False)
    map: bool = False
    source: Form | None = None

    @property
    def is_points(self) -> bool:
        return len(self.shape) == 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample as networks see it."""
        return (len(self.classes), *self.shape[1:]) if self.map else self.shape

    def to_input(self, samples: Tensor) -> Tensor:
        """Stored samples -> float32 as networks see them."""
        if self.is_points:
            return (samples - samples.new_tensor(self.centre)) / self.scale
        if not self.map:
            return bytes_to_input(samples)
        from sparring.data.maps import one_hot

        return one_hot(samples, len(self.classes))

    def to_units(self, outputs: Tensor) -> Tensor:
        """A generator's output -> floats: images stay in [-1, 1], points go back to their own units."""
        return outputs * self.scale + outputs.new_tensor(self.centre) if self.is_points else outputs

    def to_stored(self, outputs: Tensor) -> Tensor:
        """A generator's output -> uint8 images (to the nearest level), ids of the classes of the highest scores (255
        where all are 0, as in one-hot maps at pixels of no class), or points in their own units."""
        if self.is_points:
            return self.to_units(outputs)
        if self.map:
            ids = outputs.argmax(1, keepdim=True).byte()
            return ids.masked_fill((outputs == 0).all(1, keepdim=True), IGNORED)
        return outputs.add(1).mul(127.5).round().clamp(0, 255).byte()

    def to_picture(self, stored: Tensor) -> Tensor:
        """Stored images or maps -> uint8 [n, C, H, W] to look at: images as they are, maps in colours."""
        assert not self.is_points
        if not self.map:
            return stored
        from sparring.data.maps import coloured

        return coloured(stored, len(self.classes))
