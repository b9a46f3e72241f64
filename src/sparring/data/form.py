"""The form of a sample. Torch is imported only for conversions, so that a form can be read without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparring.data.layout import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


def bytes_to_input(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], the input of networks."""
    return images.float().div_(127.5).sub_(1)


@dataclass(frozen=True)
class Form:
    """The form of a sample, and its conversion to the input of networks and back. A run stores it with its weights.

    | sample | stored as | input of networks |
    |---|---|---|
    | image | uint8 [C, H, W] | float32 [C, H, W] in [-1, 1] |
    | point | float32 [D] | (x - centre) / scale |
    | map of class ids | uint8 [1, H, W] | one-hot float32 [classes, H, W]; all 0 for an id of no class |

    Attributes:
        shape: the shape of a stored sample.
        classes: the class names.
        centre: the mean of points.
        scale: the standard deviation of points over all axes.
        low: the smallest coordinates of points.
        high: the largest coordinates of points.
        counts: the number of samples (for maps: pixels) of each class; () without labels and in old runs. Ignored when
            forms are compared.
        map: True for maps of class ids.
        source: the form of the source images of pairs or of two sets.
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
        """True for points, False for images and maps."""
        return len(self.shape) == 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample as input of networks."""
        return (len(self.classes), *self.shape[1:]) if self.map else self.shape

    def to_input(self, samples: Tensor) -> Tensor:
        """Stored samples -> float32 input of networks."""
        if self.is_points:
            return (samples - samples.new_tensor(self.centre)) / self.scale
        if not self.map:
            return bytes_to_input(samples)
        from sparring.data.maps import one_hot

        return one_hot(samples, len(self.classes))

    def to_units(self, outputs: Tensor) -> Tensor:
        """Output of a generator -> floats: images stay in [-1, 1], points return to the units of the data."""
        return outputs * self.scale + outputs.new_tensor(self.centre) if self.is_points else outputs

    def to_stored(self, outputs: Tensor) -> Tensor:
        """Output of a generator -> stored samples.

        Images are rounded to uint8. Maps get the id of the highest score, or 255 (no class) where all scores are 0.
        Points return to the units of the data.
        """
        if self.is_points:
            return self.to_units(outputs)
        if self.map:
            ids = outputs.argmax(1, keepdim=True).byte()
            return ids.masked_fill((outputs == 0).all(1, keepdim=True), IGNORED)
        return outputs.add(1).mul(127.5).round().clamp(0, 255).byte()

    def to_picture(self, stored: Tensor) -> Tensor:
        """Stored images or maps -> uint8 [n, C, H, W] for display: images unchanged, maps in colours."""
        assert not self.is_points
        if not self.map:
            return stored
        from sparring.data.maps import coloured

        return coloured(stored, len(self.classes))
