"""The option `--device` of pytest: it chooses the device that tests train on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY

from sparring.base.device import find_device

TESTS = Path(__file__).parent
SAMPLE = """
import os
import pytest
from conftest import TINY

def test_devices():
    print(f"\\nTINY={TINY['device']}, CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}")

@pytest.mark.cpu_only("it compares bits")
def test_bits():
    print("\\nbits")
"""
WITH_CUDA = "import torch\ntorch.cuda.is_available = lambda: True\n"  # before the option is read


def pytest_in(folder: Path, *options: str) -> tuple[int, str]:
    """The status and the output of pytest with this project's conftest on a sample of tests."""
    (folder / "test_sample.py").write_text(SAMPLE, encoding="utf-8")
    (folder / "with_cuda.py").write_text(WITH_CUDA, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-rs", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(folder), *options, "-p", "conftest", str(folder / "test_sample.py")]
    paths = [str(folder), str(TESTS), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_cpu_is_the_default(tmp_path: Path) -> None:
    outputs = []
    for options in ((), ("--device", "cpu")):
        status, output = pytest_in(tmp_path, *options)
        assert status == 0, output
        assert "TINY=cpu, CUDA_VISIBLE_DEVICES=''" in output
        assert "bits" in output
        outputs.append(re.sub(r"in [\d.]+s.*", "", output))
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_another_device_skips_what_needs_the_cpu(tmp_path: Path) -> None:
    status, output = pytest_in(tmp_path, "-p", "with_cuda", "--device", "cuda")
    assert status == 0, output
    assert "TINY=cuda, CUDA_VISIBLE_DEVICES='0'" in output
    assert "1 passed, 1 skipped" in output
    assert "not on cuda: it compares bits" in output


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_device_stops_the_tests(tmp_path: Path) -> None:
    status, output = pytest_in(tmp_path, "--device", "cuda")
    assert status == pytest.ExitCode.USAGE_ERROR
    message = "ERROR: --device: device='cuda' is not on this machine; choose one of: cpu"
    assert output.strip() in (message, f"{message}, mps")


def test_tests_train_on_the_device_of_the_option(pytestconfig: pytest.Config) -> None:
    device = pytestconfig.getoption("--device")
    assert TINY["device"] == device
    if device != "cpu" or not torch.backends.mps.is_available():  # nothing hides MPS
        assert find_device("auto").type == device
