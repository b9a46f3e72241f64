"""Images per second of a training beside busy processes, relative to the quiet machine.

python -m benchmarks.busy [--seconds 30] [--recipes mnist,digits,lecture,sngan-cifar10] [--repeats 3]

Each repeat trains a recipe by `sparring train --minutes` twice: once with torch's default number of threads, and once
with the number that Sparring chooses. During the second training, one and then two Python loops run beside it, each for
`--seconds`. Rates are wall-clock rates from the run's log, so the time for choosing threads counts. Otherwise the
machine must be quiet.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.setting import describe_machine
from sparring import load_recipe
from sparring.base.cores import available_cores
from sparring.run.log import THREADS, Log, kind_of

LOG_EVERY = {"mnist": 5, "digits": 20, "lecture": 20, "sngan-cifar10": 1}
BARS = {1: 0.55, 2: 0.35}  # competing processes -> share of the quiet rate on two cores
WITHIN = 15.0  # seconds from the start of the competition until the rate reaches its bar
SPAN = 2.0  # seconds of a rate
BUSY = "while True: pass"


@dataclass(frozen=True)
class Repeat:
    """The rates of one repeat, in images per second.

    Attributes:
        default: on the quiet machine, with torch's default number of threads.
        quiet: the same with the chosen number.
        beside: by number of competing processes, after the first 15 seconds of the competition.
        after: by number of competing processes, seconds until the rate reached its bar; None if it never did.
        threads: the numbers of threads in use, in order.
    """

    default: float
    quiet: float
    beside: dict[int, float]
    after: dict[int, float | None]
    threads: list[int]


class Follower:
    """Follows the log of a training: the steps with the time when they were read."""

    def __init__(self, run: Path, batch: int, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.log, self.batch, self.process, self.errors = Log(run / "log.jsonl", ""), batch, process, errors
        self.seen: list[tuple[float, int]] = []
        self.threads: list[int] = []

    def follow(self, seconds: float) -> tuple[float, float]:
        """Follow for some seconds; return begin and end."""
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            time.sleep(0.05)
            self.read()
        return begin, time.monotonic()

    def read(self) -> None:
        """Read new rows. RuntimeError: the training has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the training ended: {self.errors.read_text(errors='replace')[-500:]}")
        rows = self.log.new_rows()
        steps = [row["step"] for row in rows if not kind_of(row)]
        self.seen += [(time.monotonic(), steps[-1])] if steps else []
        self.threads += [row["threads"] for row in rows if kind_of(row) == THREADS]

    def rate(self, begin: float, end: float) -> float:
        """Images per second between the first and the last row read in a span of time; NaN without two rows."""
        within = [each for each in self.seen if begin <= each[0] <= end]
        if len(within) < 2:
            return math.nan
        (first, low), (last, high) = within[0], within[-1]
        return (high - low) * self.batch / (last - first)

    def reached(self, bar: float, begin: float, end: float) -> float | None:
        """Seconds after `begin` until the rate, over two seconds and to the end, is at least `bar`; None: never."""
        starts = (at for at, _ in self.seen if begin <= at <= end - SPAN)
        return next((at - begin for at in starts if min(self.rate(at, at + SPAN), self.rate(at, end)) >= bar), None)


@contextmanager
def training(recipe: str, threads: str) -> Iterator[Follower]:
    """A training in another process, after its first rows; it is stopped at the end of the context."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "errors").open("wb") as errors:
        run = Path(folder) / "run"
        fields = [f"--threads={threads}", f"--log-every={LOG_EVERY.get(recipe, 1)}", "--minutes=600", f"--out={run}"]
        fields += ["--doctor=off", "--pictures=0", "--checkpoint-every=1000"]
        command = [sys.executable, "-m", "sparring", "train", recipe, *fields]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            follower = Follower(run, load_recipe(recipe).batch_size, process, Path(errors.name))
            while len(follower.seen) < 2:
                follower.follow(0.2)
            yield follower
        finally:
            process.terminate()
            process.wait()


@contextmanager
def competing() -> Iterator[None]:
    """A process beside the training that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(recipe: str, seconds: float) -> Repeat:
    """One repeat."""
    beside, after = dict[int, float](), dict[int, float | None]()

    def compete(follower: Follower, count: int, quiet: float) -> None:
        begin, end = follower.follow(seconds)
        beside[count] = follower.rate(min(begin + WITHIN, (begin + end) / 2), end)
        after[count] = follower.reached(BARS[count] * quiet, begin, end)

    with training(recipe, str(torch.get_num_threads())) as follower:
        default = follower.rate(*follower.follow(seconds))
    with training(recipe, "auto") as follower:
        quiet = follower.rate(*follower.follow(seconds))
        with competing():
            compete(follower, 1, quiet)
            with competing():
                compete(follower, 2, quiet)
    return Repeat(default, quiet, beside, after, follower.threads)


def report(recipe: str, repeats: list[Repeat]) -> Iterator[str]:
    """The lines of a recipe: medians, beside the bars."""
    quiet = statistics.median(each.quiet for each in repeats)
    relative = statistics.median(each.quiet / each.default for each in repeats)
    numbers = "; ".join(" -> ".join(map(str, each.threads)) for each in repeats)
    yield f"{recipe}: quiet {quiet:,.0f} images/s, {relative:.2f} of torch's default threads (bar 1.00)"
    for count, bar in BARS.items():
        ratio = statistics.median(each.beside[count] / each.quiet for each in repeats)
        times = [each.after[count] for each in repeats]
        worst = "not reached" if None in times else f"reached after {max(t for t in times if t is not None):.0f} s"
        yield f"  beside {count}: {ratio:.2f} of quiet (bar {bar} on 2 cores), {worst} (bar {WITHIN:.0f} s)"
    yield f"  threads: {numbers}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of each part of a training")
    parser.add_argument("--recipes", default=",".join(LOG_EVERY), help="names of recipes, separated by commas")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print(describe_machine(f"{available_cores()} cores"), flush=True)
    for recipe in chosen.recipes.split(","):
        repeats = [measure(recipe, chosen.seconds) for _ in range(chosen.repeats)]
        print("\n".join(report(recipe, repeats)), flush=True)


if __name__ == "__main__":
    main()
