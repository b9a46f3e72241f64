"""The log: appended by several processes, followed while it grows; viewing runs imports no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.base.errors import UserError
from sparring.run import log as run_log
from sparring.run.log import EVALUATION, RESUME, STOP, Log, of_kind, without_abandoned

FIX = "make room"


def written(path: Path, count: int, start: int = 0) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in range(start, start + count))


def test_reading_continues_after_the_last_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    written(path, 100_000)
    log, parsed = Log(path, FIX), []
    monkeypatch.setattr(run_log, "_parsed", lambda path, number, line: parsed.append(number) or json.loads(line))
    assert len(log.rows()) == 100_000
    written(path, 3, 100_000)
    parsed.clear()
    assert [row["step"] for row in log.new_rows()] == [100_000, 100_001, 100_002]
    assert parsed == [100_001, 100_002, 100_003]
    assert log.new_rows() == []
    assert len(log.rows()) == 100_003
    assert len(parsed) == 3


def test_an_incomplete_row_is_read_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, FIX)
    assert log.rows() == []
    path.write_text('{"step": 1}\n{"step"')
    assert log.new_rows() == [{"step": 1}]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert log.new_rows() == [{"step": 2}]


def test_a_replaced_log_is_read_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, FIX)
    written(path, 10)
    assert len(log.rows()) == 10
    other = tmp_path / "other"
    written(other, 20, 100)
    other.replace(path)
    assert log.rows()[0]["step"] == 100
    path.write_text('{"step": 7}\n')
    assert log.rows() == [{"step": 7}]
    path.write_text('{"step": 1}\n{"step": 2}\n')  # longer than before, in the same file
    assert log.rows() == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 8}\n{"step": 9}\n')  # as long as before
    os.utime(path, ns=(0, 1))
    assert log.rows() == [{"step": 8}, {"step": 9}]
    log.rows()[0]["step"] = 100  # a copy
    assert log.rows()[0] == {"step": 8}
    path.unlink()
    assert log.rows() == []


def test_appending_removes_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    log = Log(path, FIX)
    log.append({"step": 3})
    assert log.rows() == [{"step": 1}, {"step": 3}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, FIX)
    written(path, 2)
    log.rows()
    with path.open("a") as file:
        file.write("oops\n")
    with pytest.raises(UserError, match=r"log\.jsonl, line 3 is damaged"):
        log.rows()


APPENDING = """
import sys
from pathlib import Path
from sparring.run.log import Log
log = Log(Path(sys.argv[1]), "make room")
for step in range(1500):
    log.cut_torn_line() if step % 50 == 0 else None
    log.append({"step": step, "by": sys.argv[2], "long": "x" * (step % 400)})
"""


@pytest.mark.parametrize("name", ["log.jsonl", "scores.jsonl"])
def test_processes_that_append_to_one_file_lose_no_row(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    processes = [subprocess.Popen([sys.executable, "-c", APPENDING, str(path), by]) for by in ("a", "b")]
    assert [process.wait() for process in processes] == [0, 0]
    rows = Log(path, FIX).rows()
    for by in ("a", "b"):
        assert [row["step"] for row in rows if row["by"] == by] == list(range(1500))


def test_rows_are_found_by_their_kind() -> None:
    rows = [
        {"step": 1},
        {"step": 2, "event": EVALUATION},
        {"step": 3},
        {"step": 2, "event": RESUME},
        {"step": 3, "event": STOP},
    ]
    assert [row["step"] for row in of_kind(rows, "")] == [1, 3]
    assert [row["step"] for row in of_kind(without_abandoned(rows), "", EVALUATION)] == [1, 2]


def test_viewing_runs_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, sparring.run, sparring.recipe\n"
        "assert sparring.run.Run and sparring.recipe.Recipe\n"
        "print({'torch', 'matplotlib', 'numpy', 'rich'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
