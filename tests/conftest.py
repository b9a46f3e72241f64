"""Shared fixtures: small trained runs, and a check of failed commands. `pytest --device cuda` trains on CUDA."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

# One thread: small networks gain little from a second one and lose much on busy cores. Subprocesses inherit it, so
# their bits equal those of the test process. Must precede the import of torch.
os.environ["OMP_NUM_THREADS"] = "1"
# Keeps classifiers and downloads of tests out of the user's cache; parallel test processes share one folder.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sparring-cache-")

from sparring.base.device import find_device
from sparring.base.errors import UserError
from sparring.cli import main

# Default folder of real datasets; absolute, because some tests change the working folder.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if DATA.is_dir():
    os.environ.setdefault("SPARRING_DATA", str(DATA))

TINY = {
    "generator": "MLPGenerator(hidden=(32,))",
    "discriminator": "MLPDiscriminator(hidden=(32,))",
    "penalties": "",
    "precision": "fp32",
    "device": "cpu",
    "steps": 20,
    "pictures": 1,
    "log_every": 5,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--device`."""
    what = "device that tests train on: of TINY, and what device='auto' finds; cpu hides CUDA"
    parser.addoption("--device", choices=("cpu", "cuda", "mps"), default="cpu", help=what)


def pytest_configure(config: pytest.Config) -> None:
    """Set the device for all tests, before their modules are imported."""
    device = TINY["device"] = config.getoption("--device")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # so that `auto` is the CPU, in subprocesses as well
    try:
        find_device(device)
    except UserError as error:
        raise pytest.UsageError(f"--device: {error}") from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests with the mark `cpu_only(reason)` on other devices."""
    device = config.getoption("--device")
    for item in items:
        mark = item.get_closest_marker("cpu_only")
        if mark is not None and device != "cpu":
            item.add_marker(pytest.mark.skip(reason=f"not on {device}: {mark.args[0]}"))


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log without its times, which no repeat equals."""
    return {name: value for name, value in row.items() if name != "seconds" and not name.startswith("overhead/")}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps on digits, shared by all tests; use `run_copy` to change it."""
    from sparring import train

    return train("digits", out=tmp_path_factory.mktemp("tiny") / "run", **TINY)


@pytest.fixture(scope="session")
def tiny_points_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps on the ring of Gaussians, shared by all tests."""
    from sparring import train

    return train("digits", out=tmp_path_factory.mktemp("points") / "run", **{**TINY, "data": "ring"})


@pytest.fixture
def real_set() -> Callable[[str], Path]:
    """The folder of a real dataset in `$SPARRING_DATA`; the test is skipped if it is missing."""

    def find(name: str) -> Path:
        folder = os.environ.get("SPARRING_DATA")
        if not folder:
            pytest.skip(f"set SPARRING_DATA to the folder that holds {name}")
        if not (Path(folder) / name).is_dir():
            pytest.skip(f"{name} is not in SPARRING_DATA={folder}")
        return Path(folder).resolve() / name

    return find


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run on digits, which tests may change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with status 2 and one line on stderr; return the line."""

    def check(*arguments: object) -> str:
        capfd.readouterr()
        status = main([str(a) for a in arguments])
        message = capfd.readouterr().err
        assert status == 2, f"status {status}: {message}"
        assert message.startswith("sparring: ")
        assert message.count("\n") == 1, message
        assert message.endswith("\n")
        assert "Traceback" not in message
        return message

    return check


@pytest.fixture
def killed_at() -> Callable[..., AbstractContextManager[None]]:
    """A context `killed_at(step)` in which training is killed before that step, as by a second Ctrl-C."""

    @contextmanager
    def kill(at: int, seed: int = 0) -> Iterator[None]:
        from sparring.training.step import Stepper

        take_step = Stepper.__call__

        def killed(self: Stepper, progress: float) -> object:
            if self.state.step == at and self.recipe.seed == seed:
                raise KeyboardInterrupt
            return take_step(self, progress)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stepper, "__call__", killed)
            with pytest.raises(KeyboardInterrupt):
                yield

    return kill
