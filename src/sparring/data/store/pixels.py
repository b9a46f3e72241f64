"""Sinks for decoded images: an array in memory, or a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.base.download import ROOM
from sparring.base.errors import writing

BLOCK = 1 << 24


class TooLargeError(Exception):
    """The images exceed the memory bound."""


class Pixels(ABC):
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

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.frame)

    @abstractmethod
    def make_room(self) -> None:
        """Allocate for the new `frame`, and convert the grey images so far to it."""

    @abstractmethod
    def append(self, image: Pixel) -> None:
        """Store an image of shape `frame`."""


class InMemory(Pixels):
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

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.array[: self.count])


class InFile(Pixels):
    """A file opened for reading and writing; `place` names it in messages if it has no name."""

    def __init__(self, file: BinaryIO, place: Path | None = None) -> None:
        super().__init__()
        self.file, self.place = file, place or Path(file.name)

    def make_room(self) -> None:
        with writing(self.place, ROOM):
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
        with writing(self.place, ROOM):
            self.file.write(np.ascontiguousarray(image).data)


Pixel = NDArray[np.uint8]
