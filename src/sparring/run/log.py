"""The run's log: rows of JSON, appended only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparring.base.errors import UserError, writing

Row = dict[str, Any]


def without_abandoned(rows: Iterable[Row]) -> list[Row]:
    """Rows without those beyond a step that the training went back to, which a row of the event `resumed` tells."""
    found: list[Row] = []
    for row in rows:
        if row.get("event") == "resumed":
            found = [r for r in found if r["step"] <= row["step"]]
        found.append(row)
    return found


def append_row(path: Path, row: Row, mend: str) -> None:
    """Add a row to a file of JSON lines, in one write.

    Raises:
        UserError: it cannot be written; the message ends with `mend`.
    """
    with writing(path, mend), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_torn_line(path: Path, mend: str) -> None:
    """Remove what a write that failed or was killed left of a line."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with writing(path, mend):
                os.truncate(path, whole)


def read_rows(path: Path) -> list[Row]:
    """All whole lines of a file of JSON objects that each have a `step`; none where there is no file.

    Raises:
        UserError: a line is damaged.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    rows = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError("it is not a row with a step")
        except ValueError as error:  # what is not JSON or not text is one, too
            raise UserError(f"{path}, line {number} is damaged ({error}); remove the line") from error
        rows.append(row)
    return rows
