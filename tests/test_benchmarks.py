"""The benchmarks run: what they measure is not asserted, since times depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = [p for p in (ROOT / "benchmarks").glob("*.py") if 'if __name__ == "__main__"' in p.read_text("utf-8")]


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in COMMANDS))
def test_a_benchmark_starts(name: str) -> None:
    assert "usage" in run(f"benchmarks.{name}", "--help")


@pytest.mark.slow
def test_the_speed_of_training_is_measured(real_set: Callable[[str], Path]) -> None:
    real_set("mnist")
    assert "images/s" in run("benchmarks.speed", "--blocks", "1", "--steps", "1")


@pytest.mark.slow
def test_the_share_of_the_processors_limit_is_measured(tmp_path: Path) -> None:
    shown = run("benchmarks.roof", "digits", "digits:data=missing/", "--blocks=1", f"--json={tmp_path / 'roof.json'}")
    for part in ("missing/ is left out", "Roof before: fp32", "Roof after: fp32", "| `digits` |"):
        assert part in shown
    found = json.loads((tmp_path / "roof.json").read_text(encoding="utf-8"))
    assert found["recipes"]["digits"]["batch"] == 64
    assert set(found["before"]["products"]) == {"fp32", "bf16"}


@pytest.mark.slow
def test_the_speed_beside_busy_processes_is_measured() -> None:
    shown = run("benchmarks.busy", "--seconds=1", "--recipes=digits", "--repeats=1")
    for part in ("digits: quiet", "(bar 1.00)", "beside 1:", "(bar 0.55 on 2 cores)", "beside 2:", "(bar 15 s)"):
        assert part in shown
