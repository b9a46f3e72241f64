"""Logs of JSON lines, such as a run's `log.jsonl` and `scores.jsonl`. Any number of processes append; readers follow.

A row is a JSON object with a `step`. A row without `event` holds the metrics of the step; `event` names another kind of
row. Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypedDict, cast

from sparring.base.errors import UserError, writing
from sparring.base.process import exclusively

Row = dict[str, Any]
"""`step`, `seconds` of training alone, `event` (except for the metrics of a step), and the values of its kind.

The metrics of a step include `overhead/NAME`: cumulative seconds of `evaluation`, `doctor`, `pictures`,
`checkpoints` and `threads` (see `Clock`)."""

CHECKPOINT: Final = "checkpoint"  # a checkpoint was written: its quick scores by name
EVALUATION: Final = "evaluated"  # an evaluation: its scores by name; `cost` in seconds
PROBE: Final = (
    "probe"  # the doctor's measurements by name; `progress`, the share of the budget spent; `cost` in seconds
)
LEAKED: Final = "leak"  # the doctor found a value that no training reaches: `what`
TREATMENT: Final = "treated"  # the doctor changed the recipe: see `Treatment`
STOP: Final = "stopped"  # early stopping: `what`
NOT_FINITE: Final = "not finite"  # training ended with NaN or infinity: `what`
RESUME: Final = "resumed"  # training resumed from a checkpoint: earlier rows of later steps are abandoned
BRANCH: Final = "branched"  # training started from the state of another run: `what`
THREADS: Final = "threads"  # `threads` on the CPU from here on; `what`: why; `milliseconds` of a step by timed number


class Treatment(TypedDict):
    """A row of the kind TREATMENT: a fix that the doctor applied."""

    step: int
    seconds: float
    event: str
    failure: str
    about: str
    changes: dict[str, Any]  # recipe field -> new value
    back_to: int | None  # step of the healthy state that training went back to
    restarted: list[str]  # networks with new random weights
    untreated_run: str  # run directory that continues without the fix


def kind_of(row: Row) -> str:
    """The kind of a row; "" for the metrics of a step."""
    return str(row.get("event", ""))


def of_kind(rows: Iterable[Row], *kinds: str) -> list[Row]:
    """The rows of these kinds, in order; "" for the metrics of steps."""
    return [row for row in rows if kind_of(row) in kinds]


def treatments(rows: Iterable[Row]) -> list[Treatment]:
    """The rows of the kind TREATMENT, in order."""
    return [cast(Treatment, row) for row in of_kind(rows, TREATMENT)]


def without_abandoned(rows: Iterable[Row]) -> list[Row]:
    """Rows without abandoned steps: a RESUME row drops earlier rows of later steps."""
    found: list[Row] = []
    for row in rows:
        if kind_of(row) == RESUME:
            found = [r for r in found if r["step"] <= row["step"]]
        found.append(row)
    return found


class Log:
    """A log file, which need not exist yet. Reading parses only rows appended since this object's last reading.

    `fix` ends the error message for a failed write.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path, self.fix = path, fix
        self._forget()

    def _forget(self) -> None:
        self._rows: list[Row] = []
        self._offset = 0  # bytes read
        self._lines = 0  # lines read
        self._file: tuple[int, int] | None = None  # device and inode of the file
        self._changed = 0  # its last modification in nanoseconds
        self._last = b""  # the last line read

    def append(self, row: Row) -> None:
        """Append a row in one write, after removing an incomplete line. UserError: it cannot be written."""
        with writing(self.path, self.fix), exclusively(self.path), self.path.open("ab") as file:
            _cut_torn_line(self.path, file)
            file.write(f"{json.dumps(row)}\n".encode())

    def cut_torn_line(self) -> None:
        """Remove the incomplete last line of a failed or killed write. UserError: the file cannot be written."""
        if self.path.exists():
            with writing(self.path, self.fix), exclusively(self.path), self.path.open("ab") as file:
                _cut_torn_line(self.path, file)

    def rows(self) -> list[Row]:
        """All complete rows, in order; an empty list if the file is missing. UserError: a line is damaged."""
        self.new_rows()
        return [{**row} for row in self._rows]

    def new_rows(self) -> list[Row]:
        """Complete rows appended since the last reading; all if the file was replaced. UserError: a line is damaged."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                grown = found.st_size > self._offset or found.st_mtime_ns == self._changed
                file.seek(max(self._offset - len(self._last), 0))
                same = file.read(len(self._last)) == self._last  # a new file may have the old one's inode
                if (found.st_dev, found.st_ino) != self._file or not grown or not same:
                    self._forget()
                self._file, self._changed = (found.st_dev, found.st_ino), found.st_mtime_ns
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            self._forget()
            return []
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole[:-1].split(b"\n") if whole else []
        new = [_parsed(self.path, self._lines + i, line) for i, line in enumerate(lines, start=1)]
        self._rows += new
        self._offset += len(whole)
        self._last = lines[-1] + b"\n" if lines else self._last
        self._lines += len(lines)
        return new


# names in logs of development versions before 0.2.0 -> present names
_EVENTS = {"look": PROBE}
_NAMES = {
    "cells": "mode_coverage",
    "rank": "effective_rank",
    "move": "movement",
    "fresh": "fresh_critic_auc",
    "area/train": "auc/train",
    "area/held_out": "auc/held_out",
    "area/memory": "auc/memory",
    "area/memory deviations": "auc/memory deviations",
    "far/reals": "distance/reals",
    "far/fakes": "distance/fakes",
    "illness": "failure",
    "way_back": "untreated_run",
}


def _with_present_names(row: Row) -> Row:
    """A PROBE or TREATMENT row of an earlier version with present names; any other row unchanged."""
    event = kind_of(row)
    if event not in _EVENTS and not (event == TREATMENT and "illness" in row):
        return row
    found: Row = {}
    for name, value in row.items():
        direction, _, metric = name.partition("/")  # such as back/area/train
        found[_NAMES.get(name) or (f"{direction}/{_NAMES[metric]}" if metric in _NAMES else name)] = value
    return {**found, "event": _EVENTS.get(event, event)}


def _parsed(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError("it is not a JSON object with a step")
    except ValueError as error:  # also of invalid JSON or UTF-8
        raise UserError(f"{path}, line {number} is damaged ({error}); remove the line") from error
    return _with_present_names(row)


def _cut_torn_line(path: Path, file: BinaryIO) -> None:
    """Remove all bytes after the last line break of a locked file that is open for appending."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    with path.open("rb") as reader:
        reader.seek(size - 1)
        if reader.read(1) == b"\n":
            return
        reader.seek(0)
        file.truncate(reader.read().rfind(b"\n") + 1)
