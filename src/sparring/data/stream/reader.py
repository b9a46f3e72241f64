"""Batches of a stream in its shuffled order: blocks of samples, made ahead in the background."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import torch
from torch import Tensor

from sparring.data.stream.order import Order


@dataclass(frozen=True)
class Block:
    """Samples that are shuffled together, in stored form.

    Attributes:
        real: uint8 [n, C, H, W].
        labels: int64 [n], or None.
        order: int64 [n]: the shuffled rows; where one could not be decoded, another row stands in its place.
        left_out: a line for each sample that could not be decoded.
    """

    real: Tensor
    labels: Tensor | None
    order: Tensor
    left_out: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.order)

    def rows(self, start: int, count: int) -> dict[str, Tensor]:
        """At most `count` samples from `start` on."""
        rows = self.order[start : start + count]
        batch = {"real": self.real[rows]}
        return batch if self.labels is None else {**batch, "label": self.labels[rows]}


class Reader:
    """The endless sequence of one worker's training samples: the same however a position in it is reached.

    A thread makes the next block while the samples of the present one are taken, so at most two blocks are in memory. A
    jump to another position begins a new thread, and the old one ends with the block that it is making.
    """

    def __init__(self, blocks: Callable[[int, int], Iterator[Block]], order: Order, size: int) -> None:
        """Make a reader; it reads nothing before samples are taken.

        Args:
            blocks: yields all blocks from an epoch and the number of a block in it on.
            order: the order of the samples before they are shuffled.
            size: the number of samples of a block; the last one of an epoch may have fewer.
        """
        self.blocks, self.order, self.size = blocks, order, size
        self.left_out = 0  # samples that could not be decoded
        self._ahead: _Ahead | None = None
        self._present: Block | None = None
        self._start = self._end = 0  # of the present block, as positions

    def take(self, position: int, count: int) -> dict[str, Tensor]:
        """Samples [position, position + count) in stored form: `real`, and `label` if they have any.

        From a position that does not follow the last one, shards are opened again.

        Raises:
            UserError: a shard cannot be read, or a sample does not fit the others; the message names it.
        """
        parts: list[dict[str, Tensor]] = []
        while count:
            parts.append(self._block(position).rows(position - self._start, count))  # keeps no block
            taken = len(parts[-1]["real"])
            position, count = position + taken, count - taken
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _block(self, position: int) -> Block:
        """The block that holds a position."""
        if self._present is not None and self._start <= position < self._end:
            return self._present
        self._present = None  # before the thread makes another one
        if self._ahead is None or position != self._end:
            self._ahead = None
            epoch, place = self.order.locate(position)
            number, within = divmod(place, self.size)
            self._ahead, self._end = _Ahead(self.blocks(epoch, number)), position - within
        try:
            block = self._ahead.next()
        except BaseException:
            self._ahead = None
            raise
        self._present, self._start, self._end = block, self._end, self._end + len(block)
        self._report(block.left_out)
        return block

    def _report(self, lines: tuple[str, ...]) -> None:
        """Print how many samples could not be decoded: at the first one, and when the number has one more digit."""
        before, self.left_out = self.left_out, self.left_out + len(lines)
        if lines and (not before or len(str(self.left_out)) > len(str(before))):
            samples = "1 sample" if self.left_out == 1 else f"{self.left_out:,} samples"
            print(f"Note: {samples} could not be read so far, and others stand in; {lines[-1]}", file=sys.stderr)


class _Ahead:
    """A thread that makes one block ahead; it ends when this object is not used any more."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self.ready: SimpleQueue[Block | BaseException] = SimpleQueue()
        self.permits, stop = threading.Semaphore(1), threading.Event()
        arguments = (blocks, self.ready, self.permits, stop)
        threading.Thread(target=_make_blocks, args=arguments, name="shards", daemon=True).start()
        weakref.finalize(self, _end, self.permits, stop)

    def next(self) -> Block:
        """The next block, or the error of the thread; the thread begins the one after it."""
        found = self.ready.get()
        if isinstance(found, BaseException):
            raise found
        self.permits.release()
        return found


def _make_blocks(
    blocks: Iterator[Block],
    ready: SimpleQueue[Block | BaseException],
    permits: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        while permits.acquire() and not stop.is_set():
            ready.put(next(blocks))
    except BaseException as error:  # it is raised where the block is needed
        ready.put(error)


def _end(permits: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    permits.release()
