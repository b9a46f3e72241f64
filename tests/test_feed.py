"""Where the training steps get their samples from: all routes give the same bits, and the thread ends."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from conftest import TINY, without_time
from torch import Tensor

import sparring
from sparring.data import Data, Sampler
from sparring.data.samples import image_data
from sparring.data.store.mapped import is_mapped, map_file
from sparring.data.store.whole import Whole
from sparring.game.match import Side
from sparring.game.outcome import Turn
from sparring.run import Run, checkpoint
from sparring.training import feed
from sparring.training.feed import Feed, Route, choose_route
from sparring.training.loop import Session
from sparring.training.progress import Progress
from sparring.training.step import Stepper

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
    ),
]
ROUTES: tuple[Route, ...] = ("direct", "resident", "ahead")
COUNT, BATCH = 23, 5
POSITIONS = [*range(0, 50, BATCH), 15, 20, 20, 90, 95]  # two epochs in order, then back, again, and onwards


def noise(count: int, seed: int, channels: int = 3) -> Data:
    rng = torch.Generator().manual_seed(seed)
    return image_data(f"noise-{seed}", torch.randint(256, (count, channels, 6, 4), generator=rng, dtype=torch.uint8))


def mapped(folder: Path, data: Data) -> Data:
    """The set in a file that is larger than the memory bound."""
    (folder / "pixels").write_bytes(data.samples.numpy().tobytes())
    with (folder / "pixels").open("rb") as file:
        return replace(data, samples=map_file(file, tuple(data.samples.shape)))


def data_of(kind: str, folder: Path) -> Data:
    """A set of a kind."""
    images = noise(COUNT, 0)
    if kind == "labels":
        return replace(images, labels=torch.arange(COUNT))
    if kind == "mapped":
        return mapped(folder, replace(images, labels=torch.arange(COUNT)))
    if kind == "pairs":
        return replace(images, source=noise(COUNT, 1, channels=1))
    if kind == "sets":
        return replace(images, source=replace(noise(7, 1), labels=torch.arange(7)), paired=False)
    return images


def taken(given: Feed) -> list[dict[str, Tensor]]:
    """The samples at all positions, and after each a number from torch's generator."""
    batches = []
    for position in POSITIONS:
        torch.manual_seed(position)
        batch = given.take(position, BATCH)
        assert {tensor.device.type for tensor in batch.values()} == {given.device.type}
        batches.append({name: tensor.cpu() for name, tensor in batch.items()} | {"random": torch.rand(3)})
    return batches


def threads() -> list[threading.Thread]:
    """The threads that gather samples."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("kind", ["plain", "labels", "mapped", "pairs", "sets"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("device", DEVICES)
def test_all_routes_give_the_same_bits(
    device: torch.device, route: Route, kind: str, mirror: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_MEMORY", "1e-9")
    monkeypatch.setattr("sparring.data.store.mapped.CHUNK", 5 * 72)  # five samples
    data, sampler = data_of(kind, tmp_path), Sampler(COUNT, 3)
    assert is_mapped(data.samples) == (kind == "mapped")
    with closing(Feed(data, mirror, device, Sampler(COUNT, 3).take, route)) as ours:
        found = taken(ours)
    for position, batch in zip(POSITIONS, found, strict=True):
        torch.manual_seed(position)
        expected = data.stored(sampler.take(position, BATCH), mirror) | {"random": torch.rand(3)}
        assert batch.keys() == expected.keys()
        for name, tensor in expected.items():
            assert tensor.dtype == batch[name].dtype
            assert torch.equal(tensor, batch[name]), (position, name)
    assert not threads()


@pytest.mark.parametrize("mirror", [False, True])
def test_mirrored_samples_are_mirrored(mirror: bool) -> None:
    data = replace(noise(COUNT, 0), source=noise(COUNT, 1))
    assert data.source is not None
    with closing(Feed(data, mirror, CPU, Sampler(COUNT, 3).take, "ahead")) as ours:
        batch = ours.take(0, COUNT)
    indices = Sampler(COUNT, 3).take(0, COUNT)
    kept = [(batch["real"] == data.samples[indices]).all(1).all(1).all(1)]
    kept += [(batch["source"] == data.source.samples[indices]).all(1).all(1).all(1)]
    assert torch.equal(*kept), "both images of a pair"
    assert torch.equal(batch["real"][~kept[0]], data.samples[indices][~kept[0]].flip(-1))
    assert (0 < kept[0].sum() < COUNT) if mirror else kept[0].all()


def test_the_thread_gathers_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    noted, gathered = list[tuple[bool, int]](), Data.gathered

    def note(self: Data, indices: Tensor, places: Tensor | None = None) -> dict[str, Tensor]:
        noted.append((threading.current_thread() is threading.main_thread(), int(indices[0])))
        return gathered(self, indices, places)

    monkeypatch.setattr(Data, "gathered", note)
    data = noise(60, 0)
    ours = Feed(data, False, CPU, lambda position, count: torch.arange(position, position + count), "ahead")
    for position in (0, 5, 10, 30, 35, 40):
        assert torch.equal(ours.take(position, 5)["real"], data.samples[position : position + 5])
    ours.close()
    direct = [position for main, position in noted if main]
    assert direct == [0, 30], "nothing could expect these"
    assert [position for main, position in noted if not main][:5] == [5, 10, 15, 35, 40]


def test_errors_of_the_thread_are_raised_where_its_batch_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Data.gathered

    def broken_disk(self: Data, indices: Tensor, places: Tensor | None = None) -> dict[str, Tensor]:
        if threading.current_thread() is not threading.main_thread() and indices[0] == 5:
            raise OSError("the disk does not answer")
        return gathered(self, indices, places)

    monkeypatch.setattr(Data, "gathered", broken_disk)
    data = noise(60, 0)
    ours = Feed(data, False, CPU, lambda position, count: torch.arange(position, position + count), "ahead")
    ours.take(0, 5)
    with pytest.raises(OSError, match="does not answer") as caught:
        ours.take(5, 5)
    assert "broken_disk" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert torch.equal(ours.take(5, 5)["real"], data.samples[5:10]), "the next attempt gathers the batch again"
    assert len(threads()) == 1
    ours.close()
    assert not threads()


class Stream:
    """A stream of CUDA that notes the batches whose copies wait in it."""

    def __init__(self, noted: list[str]) -> None:
        self.noted = noted

    def wait_stream(self, other: Stream) -> None:
        self.noted.append("wait")


def test_on_cuda_the_device_waits_for_a_copy_but_not_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = list[str]()
    side, now, current = Stream(noted), Stream(noted), ContextVar[Stream | None]("current", default=None)

    @contextmanager
    def within(stream: Stream) -> Iterator[None]:
        token = current.set(stream)
        yield
        current.reset(token)

    def sent(tensor: Tensor, device: torch.device) -> Tensor:
        if current.get() is side:
            noted.append(f"copy {int(tensor.flatten()[0])}")
        return tensor

    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: now)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: noted.append(f"used by {stream is now}"))
    monkeypatch.setattr(feed, "sent", sent)
    data = image_data("", torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1))
    ours = Feed(data, False, CPU, lambda position, count: torch.arange(position, position + count), "ahead")
    ours._stream = side  # type: ignore[assignment]
    for position in (0, 5, 10):
        ours.take(position, 5)
    ours.close()
    assert noted[:8] == ["copy 0", "wait", "used by True", "copy 5", "wait", "used by True", "copy 10", "wait"]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_small_sets_stay_on_the_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5000, 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 580)
    monkeypatch.setattr(feed, "ROOM", 864)
    here, data = torch.device(device), noise(12, 0)  # 864 bytes, an eighth of 5,000 free and 1,920 unused ones is 865
    whole = replace(data, whole=Whole(tuple(data.samples)))
    assert choose_route(data, here) == "resident"
    assert choose_route(replace(data, labels=torch.zeros(1, dtype=torch.int64)), here) == "ahead", "8 bytes more"
    assert choose_route(replace(data, source=noise(1, 1), paired=False), here) == "ahead"
    assert choose_route(whole, here) == "direct", "of its images patches are drawn"
    assert choose_route(replace(data, source=whole), here) == "direct"
    assert choose_route(data, CPU) == "direct"


# -------------------------------------------------------------------------------------------------------- in a training


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, route: Route) -> tuple[dict[str, Tensor], list[Any]]:
    """The tensors of the last checkpoint, and the log without times, of a run whose samples take a route."""
    with monkeypatch.context() as patch:
        patch.setattr(feed, "choose_route", lambda *_: route)
        run = Run.open(sparring.train("digits", out=folder / route, mirror=True, doctor="off", **TINY))
    return checkpoint.load(run.checkpoints, checkpoint.manifests(run.checkpoints)[-1]), [
        without_time(row) for row in run.history()
    ]


@pytest.mark.parametrize("route", ["resident", "ahead"])
def test_a_training_is_bit_identical(route: Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, log = trained(tmp_path, monkeypatch, "direct")
    tensors, rows = trained(tmp_path, monkeypatch, route)
    assert not threads()
    assert rows == log
    assert usual.keys() == tensors.keys()
    assert [name for name, tensor in usual.items() if not torch.equal(tensor, tensors[name])] == []


def test_the_thread_ends_with_an_interrupted_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: Callable[..., AbstractContextManager[None]]
) -> None:
    monkeypatch.setattr(feed, "choose_route", lambda *_: "ahead")
    with killed_at(7):
        sparring.train("digits", out=tmp_path / "run", **TINY)
    assert not threads()
    run = Run.open(sparring.resume(tmp_path / "run"))
    assert run.rows()[-1]["step"] == 20


def test_an_error_of_the_thread_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Data.gathered

    def broken_disk(self: Data, indices: Tensor, places: Tensor | None = None) -> dict[str, Tensor]:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("the disk does not answer")
        return gathered(self, indices, places)

    monkeypatch.setattr(feed, "choose_route", lambda *_: "ahead")
    monkeypatch.setattr(Data, "gathered", broken_disk)
    with pytest.raises(OSError, match="does not answer"):
        sparring.train("digits", out=tmp_path / "run", **TINY)
    assert not threads()


def test_a_stepper_that_is_replaced_ends_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steppers, alive, after_step = list[Stepper](), list[int](), Session.after_step

    def begin_again(self: Session, turns: dict[Side, Turn], stop: Event, progress: Progress) -> None:
        after_step(self, turns, stop, progress)
        steppers.append(self.take_step)
        alive.append(len(threads()))
        if not self.ended:
            self.begin(progress)  # as after a treatment

    monkeypatch.setattr(feed, "choose_route", lambda *_: "ahead")
    monkeypatch.setattr(Session, "after_step", begin_again)
    sparring.train("digits", out=tmp_path / "run", **TINY)
    assert len(steppers) == 20
    assert alive == [1] * 20
    assert not threads()
