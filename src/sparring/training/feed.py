"""The stored samples of the training steps, on the device, without waiting for memory or the disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sparring.base.device import sent
from sparring.data.samples import Data
from sparring.data.store.mapped import GIB, chunks

PARTS = 8  # samples stay on CUDA if they take at most 1 / PARTS of its free memory; the training needs the rest
ROOM = GIB  # bytes of samples that stay on another accelerator, whose free memory is not known

Route: TypeAlias = Literal["direct", "resident", "ahead"]


class Feed:
    """Gives each training step its stored samples, uint8 for images, on a device.

    | route | for | samples |
    | --- | --- | --- |
    | `direct` | a CPU; patches of uncut images; a stream | are gathered when they are taken |
    | `resident` | an accelerator with room for all samples | are copied there once and gathered there |
    | `ahead` | an accelerator without room | are gathered by a thread, one batch ahead; to CUDA they travel meanwhile |

    Random draws (mirroring, patches, samples of an unpaired source set) are made when samples are taken, on the CPU, so
    all routes give the same bits. Drawn samples of an unpaired source set are never gathered ahead.

    Args:
        data: the samples.
        mirror: mirror each sample with probability 1/2.
        device: where the samples are needed.
        indices: (position, count) -> indices, int64 [n]; called by the thread that takes samples.
        route: one of the routes; None chooses.
        streamed: (position, count) -> stored samples of a stream, which take the place of indices; None: no stream.
    """

    def __init__(
        self,
        data: Data,
        mirror: bool,
        device: torch.device,
        indices: Callable[[int, int], Tensor],
        route: Route | None = None,
        streamed: Callable[[int, int], dict[str, Tensor]] | None = None,
    ) -> None:
        self.mirror, self.device, self.indices, self.streamed = mirror, device, indices, streamed
        self.route = "direct" if streamed is not None else route or choose_route(data, device)
        self.data = resident(data, device) if self.route == "resident" else data
        self._stream = torch.cuda.Stream(device) if self.route == "ahead" and device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "feed") if self.route == "ahead" else None
        self._next: dict[tuple[int, int], Future[dict[str, Tensor]]] = {}  # the batch that is prepared

    def take(self, position: int, count: int) -> dict[str, Tensor]:
        """The stored samples at a position of the training, varied as by `Data.varied`, on the device.

        Errors of the thread are raised here. A batch that was not expected is gathered here.
        """
        if self.streamed is not None:
            batch = self.data.vary(self.streamed(position, count), self.mirror)
        elif self._thread is None:
            indices = sent(self.indices(position, count), self.data.samples.device)
            batch = self.data.stored(indices, self.mirror)
        else:
            batch = self.data.vary(self._prepared(self._thread, position, count), self.mirror)
        return {name: sent(tensor, self.device) for name, tensor in batch.items()}

    def close(self) -> None:
        """End the thread, and free the samples on the device."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._next.clear()
        del self.data

    def _prepared(self, thread: ThreadPoolExecutor, position: int, count: int) -> dict[str, Tensor]:
        """The batch that the thread has prepared, or, if it is another one, one gathered here; prepare the next one."""
        expected = self._next.pop((position, count), None)
        batch = self._gather(self.indices(position, count)) if expected is None else expected.result()
        if self._stream is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self._stream)  # the device waits, not the host
            for tensor in batch.values():
                tensor.record_stream(now)
        after = position + count
        self._next = {(after, count): thread.submit(self._gather, self.indices(after, count))}
        return batch

    def _gather(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples before `vary`: on CUDA, where their copy begins on a stream of its own, or else in memory."""
        batch = self.data.gathered(indices)
        if self._stream is None:
            return batch
        with torch.cuda.stream(self._stream):
            return {name: sent(tensor, self.device) for name, tensor in batch.items()}


def choose_route(data: Data, device: torch.device) -> Route:
    """How samples get to this device; see `Feed`."""
    if device.type == "cpu" or any(part.whole is not None for part in parts(data)):
        return "direct"
    return "resident" if stored_bytes(data) <= room(device) else "ahead"


def room(device: torch.device) -> int:
    """The most bytes of samples to keep on an accelerator."""
    if device.type != "cuda":
        return ROOM
    free, _ = torch.cuda.mem_get_info(device.index)  # torch before 2.5 takes no device without an index
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch's allocator
    return (free + unused) // PARTS


def parts(data: Data) -> list[Data]:
    """The set and, if it has one, its source set."""
    return [data] if data.source is None else [data, data.source]


def stored_bytes(data: Data) -> int:
    """Bytes of the stored samples, labels and sources."""
    return sum(part.samples.nbytes + (0 if part.labels is None else part.labels.nbytes) for part in parts(data))


def resident(data: Data, device: torch.device) -> Data:
    """The set with samples, labels and sources on a device. Memory of the host does not grow by them."""
    samples = torch.empty(data.samples.shape, dtype=data.samples.dtype, device=device)
    start = 0
    for chunk in chunks(data.samples):
        samples[start : start + len(chunk)].copy_(chunk)
        start += len(chunk)
    labels = None if data.labels is None else data.labels.to(device)
    source = None if data.source is None else resident(data.source, device)
    return replace(data, samples=samples, labels=labels, source=source)
