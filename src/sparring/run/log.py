"""Logs of JSON lines, such as a run's `log.jsonl` and `scores.jsonl`: appended by any number of processes, read while
they grow. Nothing here needs torch.

A row is a JSON object with the `step` that it belongs to. A row without `event` holds the metrics of a step; a row with
`event` is of one of the kinds below.
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
"""`step`; `seconds` of training; `event`, but for the metrics of a step; and what the kind says."""

CHECKPOINT: Final = "checkpoint"  # a checkpoint was written: its quick scores by name
EVALUATION: Final = "evaluated"  # an evaluation: its scores by name, and `cost`, the seconds that it took
PROBE: Final = "probe"  # what the doctor measured, by name; `progress`, the share of the budget spent; `cost`
LEAKED: Final = "leak"  # the doctor found a value that no training reaches: `what`
TREATMENT: Final = "treated"  # the doctor changed the recipe: see `Treatment`
STOP: Final = "stopped"  # it ended early for lack of progress: `what`
NOT_FINITE: Final = "not finite"  # it ended by NaN or infinity: `what`
RESUME: Final = "resumed"  # it went on from a checkpoint: rows before this one of later steps are void
BRANCH: Final = "branched"  # it begins from the state of another run: `what`


class Treatment(TypedDict):
    """A row of the kind TREATMENT: what was done about a failure."""

    step: int
    seconds: float
    event: str
    failure: str
    about: str
    changes: dict[str, Any]  # fields of the recipe
    back_to: int | None  # the step whose healthy state it went back to
    restarted: list[str]  # the networks that begin anew
    untreated_run: str  # the run directory that goes on untreated


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
    """Rows without those beyond a step that the training went back to, which a row of the kind RESUME reports."""
    found: list[Row] = []
    for row in rows:
        if kind_of(row) == RESUME:
            found = [r for r in found if r["step"] <= row["step"]]
        found.append(row)
    return found


class Log:
    """One file of rows, which need not exist. Reading parses only what was appended since the object's last reading.

    `fix` is what to do where it cannot be written, for messages.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path, self.fix = path, fix
        self._forget()

    def _forget(self) -> None:
        self._rows: list[Row] = []
        self._offset = 0  # bytes that were read
        self._lines = 0  # lines that were read
        self._file: tuple[int, int] | None = None  # which file that was
        self._changed = 0  # when it was last written
        self._last = b""  # the last line that was read

    def append(self, row: Row) -> None:
        """Add a row, in one write, without a torn line before it. UserError: it cannot be written."""
        with writing(self.path, self.fix), exclusively(self.path), self.path.open("ab") as file:
            _cut_torn_line(self.path, file)
            file.write(f"{json.dumps(row)}\n".encode())

    def cut_torn_line(self) -> None:
        """Remove what a write that failed or was killed left of a line."""
        if self.path.exists():
            with writing(self.path, self.fix), exclusively(self.path), self.path.open("ab") as file:
                _cut_torn_line(self.path, file)

    def rows(self) -> list[Row]:
        """All whole rows, in order; none where there is no file. UserError: a line is damaged."""
        self.new_rows()
        return [{**row} for row in self._rows]

    def new_rows(self) -> list[Row]:
        """The whole rows that were appended since the last reading; all of them where the file was written anew."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                grown = found.st_size > self._offset or found.st_mtime_ns == self._changed
                file.seek(max(self._offset - len(self._last), 0))
                same = file.read(len(self._last)) == self._last  # a system may give a new file the old one's number
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


# names in logs of development versions before 0.2.0 -> names of today
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


def _in_names_of_today(row: Row) -> Row:
    """A row of a PROBE or TREATMENT by an earlier version with the names of today; any other row unchanged."""
    event = kind_of(row)
    if event not in _EVENTS and not (event == TREATMENT and "illness" in row):
        return row
    found: Row = {}
    for name, value in row.items():
        direction, _, own = name.rpartition("/") if name not in _NAMES else ("", "", name)
        if own not in _NAMES and "/" in direction:  # such as back/area/train
            direction, _, rest = direction.partition("/")
            own = f"{rest}/{own}"
        renamed = _NAMES.get(own)
        found[name if renamed is None else f"{direction}/{renamed}" if direction else renamed] = value
    return {**found, "event": _EVENTS.get(event, event)}


def _parsed(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError("it is not a row with a step")
    except ValueError as error:  # what is not JSON or not text is one, too
        raise UserError(f"{path}, line {number} is damaged ({error}); remove the line") from error
    return _in_names_of_today(row)


def _cut_torn_line(path: Path, file: BinaryIO) -> None:
    """Remove what stands behind the last line break of a file that is open for appending, and locked."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    with path.open("rb") as reader:
        reader.seek(size - 1)
        if reader.read(1) == b"\n":
            return
        reader.seek(0)
        file.truncate(reader.read().rfind(b"\n") + 1)
