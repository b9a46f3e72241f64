"""How long the command and the import take, and how much memory training needs.

python -m benchmarks.startup [--repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

PEAK = """
import resource, sys
from sparring.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def seconds(command: list[str], repeats: int) -> float:
    """Median wall time of a command."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    python = [sys.executable, "-c"]
    print(f"sparring --help: {seconds([sys.executable, '-m', 'sparring', '--help'], repeats):.2f} s")
    bare = seconds([*python, "pass"], repeats)
    viewing = seconds([*python, "import sparring.run"], repeats) - bare
    print(f"import sparring.run (recipe, log, directory): {viewing:.2f} s")
    torch = seconds([*python, "import torch"], repeats)
    ours = seconds([*python, "import torch, sparring"], repeats)
    used = seconds([*python, "import torch, sparring; sparring.train, sparring.load"], repeats)
    print(
        f"import torch: {torch:.2f} s; with sparring {ours - torch:+.2f} s; with sparring.train {used - torch:+.2f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [*python, PEAK, "train", "mnist", "--steps=300", f"--out={folder}/run"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    print(f"peak memory of sparring train mnist: {int(answer.stdout.split()[-1]) / 2**20:.2f} GiB resident")


if __name__ == "__main__":
    main()
