"""The clock of a run: seconds of training, and beside them the seconds of overheads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

Overhead: TypeAlias = Literal["evaluation", "doctor", "pictures", "checkpoints", "threads"]
OVERHEADS: Final[tuple[str, ...]] = get_args(Overhead)
PREFIX: Final = "overhead/"  # of their columns in the log


@dataclass
class Clock:
    """Counts each second of a run from `start` on once, as training or as one overhead.

    | counted as | what |
    | --- | --- |
    | training | steps (data of the batch, turns, EMA), log rows, the progress line |
    | evaluation | scores every `evaluate_every` steps and after the last step |
    | doctor | probes, findings, fixes, and the states that the doctor saves |
    | pictures | sample sheets |
    | checkpoints | checkpoints and their quick scores |
    | threads | steps that are timed to choose the number of threads again |
    | nothing | starting up, the time between an interruption and `resume`, the summary |

    Recomputing batch statistics counts as what needs them first. A checkpoint holds the times before its writing, so a
    resumed run counts neither this writing nor what followed it.

    Attributes:
        seconds: seconds of training.
        overheads: overhead -> its seconds. Those that are missing at first are 0.
    """

    seconds: float = 0.0
    overheads: Mapping[str, float] = field(default_factory=dict)
    _counted: str = field(default="", init=False)  # the overhead that time counts as now; "": training
    _read_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.overheads = {**dict.fromkeys(OVERHEADS, 0.0), **self.overheads}

    @property
    def wall_seconds(self) -> float:
        """Seconds of training and of all overheads."""
        return self.seconds + sum(self.overheads.values())

    @property
    def columns(self) -> dict[str, float]:
        """The overheads as columns of a log row: cumulative seconds."""
        return {f"{PREFIX}{name}": round(seconds, 3) for name, seconds in self.overheads.items()}

    def start(self) -> None:
        """Begin to count, with training."""
        self._read_at = time.perf_counter()

    def read(self) -> None:
        """Add the time since the last reading, or since `start`."""
        assert self._read_at is not None, "the clock has not been started"
        now = time.perf_counter()
        passed, self._read_at = now - self._read_at, now
        if self._counted:
            self.overheads = {**self.overheads, self._counted: self.overheads[self._counted] + passed}
        else:
            self.seconds += passed

    @contextmanager
    def overhead(self, name: Overhead) -> Iterator[None]:
        """Count the time within as an overhead; within another overhead, as the inner one alone."""
        self.read()
        outer, self._counted = self._counted, name
        try:
            yield
        finally:
            self.read()
            self._counted = outer


def wall_seconds(row: Mapping[str, Any]) -> float:
    """Seconds of training and of all overheads in a log row of metrics; missing overheads are 0."""
    return float(row["seconds"] + sum(value for name, value in row.items() if name.startswith(PREFIX)))
