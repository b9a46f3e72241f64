"""Workers: the processes that train one run together, started by torchrun, and what they exchange.

A batch is divided among them in the order of their ranks. Each computes the gradient for its part. The mean over all
workers is the gradient of the whole batch, so all of them make the same update and stay equal to the last bit.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from sparring.base.errors import UserError, WorkerError, listed
from sparring.base.process import DONE, FAILED, MISTAKE

SECONDS = (
    120.0  # time-out of an exchange, unless SPARRING_TIMEOUT sets another; a part of it serves to find who is late
)
PATIENCE = timedelta(days=7)  # while the first worker scores, draws pictures or writes, the others wait without a limit
BEATS = 10  # times within a time-out that a worker publishes how far it is
WAITED = 0.75  # share of the time-out after which the others look who is late

Value = TypeVar("Value")
Part = TypeVar("Part")


class EndedTogether(SystemExit):
    """All workers stop for the same reason, which the first one reports; the others end silently."""


@dataclass(frozen=True)
class Workers:
    """This process among the workers of a run; a process that trains alone is the only worker.

    Every method that exchanges values must be called by all workers in the same order.

    Attributes:
        rank: number of this worker, from 0.
        count: number of workers, from 1.
        links: the connections to the others; None for a single worker.
    """

    rank: int = 0
    count: int = 1
    links: _Links | None = field(default=None, compare=False)

    @property
    def several(self) -> bool:
        return self.count > 1

    @property
    def first(self) -> bool:
        """This worker writes the run directory."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This worker's part of `count` rows of a batch, which its number of workers divides."""
        part = count // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def draw(self, draw: Callable[[int], Tensor], count: int, dim: int = 0) -> Tensor:
        """Random numbers for this worker's `count` samples: its part of what `draw` draws for all workers' samples.

        So several workers have the numbers that a single one has for the whole batch. `dim` is the dimension of the
        samples.
        """
        if not self.several:
            return draw(count)
        return draw(count * self.count).narrow(dim, self.rank * count, count)

    def draw_like(self, draw: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
        """Random numbers for samples [n, ...], as `draw`; here it gets a tensor like the samples of all workers.

        Random numbers fill a tensor in the order of its memory, so it has the memory format of the samples.
        """
        plain = samples.dim() != 4 or samples.is_contiguous()
        layout = torch.contiguous_format if plain else torch.channels_last

        def like(count: int) -> Tensor:
            size = (count, *samples.shape[1:])
            return torch.ones(size, dtype=samples.dtype, device=samples.device).contiguous(memory_format=layout)

        return self.draw(lambda count: draw(like(count)), len(samples)) if self.several else draw(samples)

    @torch.no_grad()
    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all workers, in one exchange for each type of number."""
        if not self.several:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            self._sum_(flat)
            flat /= self.count
            parts = flat.split([tensor.numel() for tensor in same])
            torch._foreach_copy_(same, [part.view_as(tensor) for part, tensor in zip(parts, same)])

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all workers; gradients flow to every worker's tensor."""
        return _Mean.apply(values, self) if self.several else values  # type: ignore[no-untyped-call]

    def mean_of(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The means of tensors of one dtype over all workers, in one exchange; gradients flow as through `mean`."""
        if not self.several:
            return tensors
        flat = self.mean(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors)]

    @torch.no_grad()
    def gathered(self, rows: Tensor) -> Tensor:
        """The rows [n, ...] of all workers, [count * n, ...], in the order of their ranks."""
        if not self.several:
            return rows
        own = rows.contiguous().to(torch.uint8) if rows.dtype == torch.bool else rows.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.count)]
        group = self._links.group_of(own)
        self._exchange(lambda: dist.all_gather(parts, own, group=group))
        return torch.cat(parts).to(rows.dtype)

    def largest(self, *numbers: float) -> list[float]:
        """The largest value over all workers of each number."""
        if not self.several:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        self._exchange(lambda: dist.all_reduce(values, dist.ReduceOp.MAX, group=self._links.control))
        return values.tolist()

    def everyone(self, value: Value, patient: bool = False) -> list[Value]:
        """The values of all workers, which can be pickled, in the order of their ranks; `patient`: without time-out."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.count
        group = self._links.patient if patient else self._links.control
        self._exchange(lambda: dist.all_gather_object(values, value, group=group), patient)
        return values

    def from_first(self, value: Value) -> Value:
        """The first worker's value, which can be pickled."""
        if not self.several:
            return value
        values: list[Any] = [value]
        self._exchange(lambda: dist.broadcast_object_list(values, src=0, group=self._links.control))
        return values[0]  # type: ignore[no-any-return]

    def fail_together(self, error: tuple[int, Exception] | None) -> None:
        """Raise the earliest error of any worker: each calls this with the time and the error, or None.

        The first worker raises it and the others `EndedTogether`, so that it is reported once.
        """
        errors = [each for each in self.everyone(error) if each is not None]
        if errors and self.first:
            raise min(errors, key=lambda each: each[0])[1]
        if errors:
            raise EndedTogether(FAILED)

    def differences(self, facts: Mapping[str, str], patient: bool = False) -> str:
        """The facts, name -> text, that differ among workers, with their values on each; "" if all are equal."""
        found = self.everyone(dict(facts), patient)
        different = [name for name in facts if len({each[name] for each in found}) > 1]
        return "; ".join(_difference(name, [each[name] for each in found]) for name in different)

    @contextmanager
    def led(self) -> Iterator[bool]:
        """A context in which the first worker works alone, for any time, and the others wait at its end.

        Yields:
            True for the first worker.
        """
        status = DONE
        try:
            with alone():
                yield self.first
        except Exception as error:
            status = MISTAKE if isinstance(error, UserError) else FAILED
            raise
        finally:
            if self.several:
                ended: list[Any] = [status]
                self._exchange(lambda: dist.broadcast_object_list(ended, src=0, group=self._links.patient), True)
                if ended[0] != DONE and not self.first:
                    raise EndedTogether(ended[0])

    @property
    def _links(self) -> _Links:
        assert self.links is not None
        return self.links

    def _sum_(self, values: Tensor) -> None:
        self._exchange(lambda: dist.all_reduce(values, group=self._links.group_of(values)))

    def _exchange(self, work: Callable[[], object], patient: bool = False) -> None:
        """Do an exchange; WorkerError: another worker ended, or does not come within the time-out."""
        self._links.begin()
        try:
            work()
        except RuntimeError as error:
            raise WorkerError(self._links.missing(self.rank, patient)) from error


@dataclass
class _Links:
    """The connections between workers.

    Attributes:
        control: a group on the CPU, for numbers, objects and tensors there; tensors on a GPU use the default group.
        patient: a group on the CPU whose time-out is never met.
        store: where each worker publishes the number of its exchanges, by a thread.
        rank: number of this worker.
        count: number of workers.
        seconds: the time-out.
        number: the exchanges that this worker has begun.
    """

    control: dist.ProcessGroup
    patient: dist.ProcessGroup
    store: Any  # a torch.distributed.Store
    rank: int
    count: int
    seconds: float
    number: int = 0
    ended: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.name = f"worker {self.rank} (process {os.getpid()} on {socket.gethostname()})"
        self.store.set(f"name/{self.rank}", self.name)
        self.publish()
        self.thread = Thread(target=self._beat, name="sparring-beat", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End the thread."""
        self.ended.set()
        self.thread.join()

    def group_of(self, tensor: Tensor) -> dist.ProcessGroup | None:
        return self.control if tensor.device.type == "cpu" else None

    def begin(self) -> None:
        self.number += 1

    def publish(self) -> None:
        self.store.set(f"number/{self.rank}", str(self.number))

    def _beat(self) -> None:
        while not self.ended.wait(self.seconds / BEATS):
            try:
                self.publish()
            except RuntimeError:  # the store ended; the next exchange reports it
                return

    def missing(self, rank: int, patient: bool) -> str:
        """Why an exchange failed: the workers that have begun fewer exchanges than this one, by name."""
        try:
            self.publish()
            time.sleep((1 - WAITED) * self.seconds)  # so that all that are alive have published this exchange
            others = [other for other in range(self.count) if other != rank]
            late = [other for other in others if int(self.store.get(f"number/{other}")) < self.number]
            names = listed([self.store.get(f"name/{other}").decode() for other in late])
        except RuntimeError:  # the store ended with the process that held it
            return "another worker ended, and its machine no longer answers"
        if not late:
            return "another worker ended during an exchange"
        waited = "" if patient else f" within {self.seconds:g} s (set SPARRING_TIMEOUT to wait longer)"
        return f"{names} ended, or did not take part in an exchange{waited}"


class _Mean(torch.autograd.Function):
    """The mean over workers; the gradient of the sum of all workers' results is the mean of their gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor, workers: Workers) -> Tensor:
        context.workers = workers
        found = values.clone()
        workers.average_([found])
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.workers.mean(gradient), None


ALONE = Workers()
_current = [ALONE]
_spreading = [ALONE]


def workers() -> Workers:
    """This process among the workers of the present training."""
    return _current[-1]


@contextmanager
def alone() -> Iterator[None]:
    """A context in which this process computes for itself, with no exchange."""
    _current.append(ALONE)
    try:
        yield
    finally:
        _current.pop()


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """A context with all processes that torchrun (or `RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`) started.

    Raises:
        UserError: a variable is missing or wrong, or the device is neither a CPU nor CUDA.
        WorkerError: not all processes come within the time-out.
    """
    count = _number("WORLD_SIZE", 1)
    if count == 1 or workers().several:
        yield workers()
        return
    rank, seconds = _number("RANK", -1), timeout()
    if not 0 <= rank < count:
        raise UserError(f"RANK must be 0 to {count - 1}, as WORLD_SIZE={count}; start the processes with torchrun")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"several workers exchange through CPUs or CUDA, not {device.type}; add --device cpu")
    wait = timedelta(seconds=WAITED * seconds)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, count = next(rendezvous("env://", rank, count, timeout=wait))
        # torchrun's store outlives a restart: no start may read what an earlier one wrote
        store = dist.PrefixStore(f"sparring-{restarts()}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=wait)
        groups = [dist.new_group(backend="gloo", timeout=each) for each in (wait, PATIENCE)]
    except (RuntimeError, ValueError) as error:
        raise WorkerError(f"worker {rank} did not reach all {count} workers within {seconds:g} s: {error}") from error
    links = _Links(groups[0], groups[1], store, rank, count, seconds)
    here = Workers(rank, count, links)
    _current.append(here)
    try:
        yield here
        here.everyone(None, patient=True)  # the first worker's process holds the store, and must not end before others
    finally:
        _current.remove(here)
        links.close()
        dist.destroy_process_group()


@contextmanager
def spread(device: torch.device) -> Iterator[Workers]:
    """A context in which `in_parts` divides its work among the processes that torchrun started, for no training.

    All else is computed by each of them. Raises what `joined` raises.
    """
    with joined(device) as group, alone():
        _spreading.append(group)
        try:
            yield group
        finally:
            _spreading.pop()


def in_parts(work: Callable[[Part], Value], parts: Sequence[Part]) -> list[Value]:
    """The results of `work`, which can be pickled, for all parts in order; within `spread`, each process does some."""
    group = _spreading[-1]
    own = [work(part) for part in parts[group.rank :: group.count]]
    all_results = group.everyone(own, patient=True)
    return [all_results[place % group.count][place // group.count] for place in range(len(parts))]


def local_count() -> int:
    """The number of workers on this machine."""
    return _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1))


def restarts() -> int:
    """How often torchrun has restarted the workers."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def may_restart() -> bool:
    """Torchrun restarts the workers if one ends with an error."""
    return _number("WORLD_SIZE", 1) > 1 and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.lstrip("-").isdecimal():
        raise UserError(f"{name}={text!r} must be a whole number; start the processes with torchrun")
    return int(text or default)


def timeout() -> float:
    """Seconds that workers wait for one another in an exchange."""
    text = os.environ.get("SPARRING_TIMEOUT", "")
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < PATIENCE.total_seconds():
        raise UserError(f"SPARRING_TIMEOUT={text!r} must be seconds above 0, at most {PATIENCE.days} days")
    return seconds


def _difference(name: str, values: Iterable[str]) -> str:
    """A text that groups workers by their value of a fact."""
    ranks: dict[str, list[str]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(value, []).append(str(rank))
    parts = [f"{value} on worker {listed(same)}" for value, same in ranks.items()]
    return f"{name}: {', '.join(parts)}"
