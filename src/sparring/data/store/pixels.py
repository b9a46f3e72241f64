"""Sinks for decoded images of one size or of any size: memory, or a file."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.base.download import ROOM
from sparring.base.errors import writing
from sparring.data.store.mapped import mapped_folder

BLOCK = 1 << 24

Pixel = NDArray[np.uint8]
Stored = Tensor | list[Tensor]
"""Images of one size, uint8 [N, C, H, W]; or images of any size, [C, H, W] each."""


class TooLargeError(Exception):
    """The images exceed the memory bound."""


class Sink(Protocol):
    """Takes decoded images."""

    def add(self, image: Pixel) -> None:
        """Store an image, [C, H, W]; raises TooLargeError if it does not fit."""


class MemorySink(Sink, Protocol):
    """Keeps the images in memory."""

    def stored(self) -> Stored:
        """All images so far."""


class FileSink(Sink, Protocol):
    """Writes the images to a file."""

    def layout(self) -> list[Any]:
        """What `arranged` needs to find the images in the file."""


def arranged(pixels: Tensor, layout: Sequence[Any]) -> Stored:
    """The images in the bytes of a file, [n], from the layout of its sink: one shape, or one for each image."""
    if not isinstance(layout[0], Sequence):
        return pixels.view(*layout)
    sizes = [math.prod(shape) for shape in layout]
    return [part.view(*shape) for part, shape in zip(pixels.split(sizes), layout)]


class _Stack(ABC):
    """A growing stack of images of one size, uint8 [n, C, H, W]; C changes from 1 to 3 at the first colour image."""

    def __init__(self) -> None:
        self.count = 0
        self.frame: tuple[int, ...] = ()

    def add(self, image: Pixel) -> None:
        """Append an image, [C, H, W]; grey becomes RGB in a colour stack. Raises TooLargeError if it does not fit."""
        if not self.frame or image.shape[0] > self.frame[0]:
            self.frame = image.shape
            self.make_room()
        self.append(image if image.shape == self.frame else np.broadcast_to(image, self.frame))
        self.count += 1

    @abstractmethod
    def make_room(self) -> None:
        """Allocate for the new `frame`, and convert the grey images so far to it."""

    @abstractmethod
    def append(self, image: Pixel) -> None:
        """Store an image of shape `frame`."""


class StackInMemory(_Stack):
    """An array for at most `most` images, of at most `bound` bytes."""

    def __init__(self, most: int, bound: int) -> None:
        super().__init__()
        self.most, self.bound = most, bound
        self.array: Pixel = np.empty(0, np.uint8)

    def make_room(self) -> None:
        if self.most * int(np.prod(self.frame)) + self.array.nbytes > self.bound:
            raise TooLargeError
        grey = self.array[: self.count]
        self.array = np.empty((self.most, *self.frame), np.uint8)  # pages never written take no memory
        self.array[: self.count] = grey if self.count else 0

    def append(self, image: Pixel) -> None:
        self.array[self.count] = image

    def stored(self) -> Tensor:
        return torch.from_numpy(self.array[: self.count])


class StackInFile(_Stack):
    """A file opened for reading and writing."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file

    def make_room(self) -> None:
        with writing(mapped_folder(), ROOM):
            grey = int(np.prod(self.frame[1:]))
            rows = max(1, BLOCK // grey)
            for start in reversed(range(0, self.count, rows)):  # backwards, so that unread images are not overwritten
                count = min(rows, self.count - start)
                self.file.seek(start * grey)
                images = np.frombuffer(self.file.read(count * grey), np.uint8).reshape(count, 1, *self.frame[1:])
                self.file.seek(3 * start * grey)
                self.file.write(images.repeat(3, axis=1).data)
            self.file.seek(3 * self.count * grey)

    def append(self, image: Pixel) -> None:
        with writing(mapped_folder(), ROOM):
            self.file.write(np.ascontiguousarray(image).data)

    def layout(self) -> list[int]:
        return [self.count, *self.frame]


class ImagesInMemory:
    """Images of any size, of at most `bound` bytes."""

    def __init__(self, most: int, bound: int) -> None:
        self.bound, self.held = bound, 0
        self.images: list[Tensor] = []

    def add(self, image: Pixel) -> None:
        self.held += image.nbytes
        if self.held > self.bound:
            raise TooLargeError
        self.images.append(torch.from_numpy(np.array(image, np.uint8, order="C")))  # Pillow's memory is read-only

    def stored(self) -> list[Tensor]:
        return self.images


class ImagesInFile:
    """A file of images of any size."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.shapes: list[tuple[int, ...]] = []

    def add(self, image: Pixel) -> None:
        with writing(mapped_folder(), ROOM):
            self.file.write(np.ascontiguousarray(image).data)
        self.shapes.append(image.shape)

    def layout(self) -> list[tuple[int, ...]]:
        return self.shapes
