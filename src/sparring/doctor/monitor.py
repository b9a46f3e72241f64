"""The doctor for a training loop of the user's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from sparring.base.compat import total_norm
from sparring.base.errors import UserError, check_number, writing
from sparring.doctor.diagnosis.findings import Finding, diagnose
from sparring.doctor.diagnosis.report import is_failure, words
from sparring.doctor.probing.probing import COUNT, MOST, ProbeSchedule
from sparring.doctor.probing.reference import Metrics
from sparring.doctor.probing.user_networks import Samples, UserNetworks, choose_probe_set, networks_of
from sparring.game.losses import Loss
from sparring.game.schedules import at
from sparring.run.log import NOT_FINITE, PROBE, RESUME, Log, Row, kind_of, of_kind, without_abandoned

LEAST_BUDGET = 2000  # steps that are assumed at least where `steps` is not given
GROWTH = 0.1  # relative growth of the step from one probe to the next where `steps` is not given
OFFSET = 50  # steps added before that growth is computed, so that the first probes are not a step apart


class Monitor:
    """Diagnoses a training loop of your own: probes the generator and the discriminator while the loop trains them.

    Call `step()` once per step, after both updates. A probe changes no bit of the training: random state, buffers,
    gradients and train/eval modes stay unchanged. There are up to 100 probes, in at most 5 % of the loop's time; the
    first is at the first step. docs/doctor.md lists the metrics and rules.

    Networks with classes take pairs: `real`, `held_out` and `latents` are then tuples (tensor, int64 labels [n]), and
    the monitor calls `generator(latents, labels)` and `discriminator(samples, labels)`.

    Example:
        ```python
        import torch
        from torch import nn

        from sparring.doctor import Monitor
        from sparring.losses import NonSaturating

        real = torch.randn(1000, 2)
        generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
        discriminator = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))
        optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        bce = nn.BCEWithLogitsLoss()
        ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)

        monitor = Monitor(
            generator, discriminator, real=real, latents=torch.randn(256, 4), loss=NonSaturating(), steps=1000
        )
        for _ in range(1000):
            fake = generator(torch.randn(64, 4))
            optimizer_g.zero_grad()
            bce(discriminator(fake), ones).backward()
            optimizer_g.step()
            optimizer_d.zero_grad()
            batch = real[torch.randint(len(real), (64,))]
            (bce(discriminator(batch), ones) + bce(discriminator(fake.detach()), zeros)).backward()
            optimizer_d.step()
            for finding in monitor.step():
                print(finding)
        monitor.report()
        ```

    Args:
        generator: A module or function: latents -> samples.
        discriminator: A module or function: samples -> logits of any shape [n, ...].
        real: Training samples as the discriminator sees them, float [n, ...], n at least 64. Some of them are kept.
        latents: Inputs of the generator for all probes, [n, ...], n at least 32; 256 are best.
        held_out: Samples of the same distribution that the loop does not train on, n at least 32.
            `discriminator-overfit` is reported only with them.
        steps: The number of steps of the loop. None assumes twice the steps so far, and at least 2,000: the first
            finding comes after step 340, low coverage is no failure while it improves, and medians cover the last two
            fifths of the steps so far.
        loss: The generator's loss, one of `sparring.losses`; `NonSaturating()` for `BCELoss(D(G(z)), ones)`.
            `vanishing-gradient` is reported only with it.
        probabilities: The discriminator outputs probabilities, because its last layer is a sigmoid.
        networks: The modules (generator, discriminator) behind functions; required if either is not a module.
        batch: The number of samples that the networks see at once.
        log: A file for the probes, as JSON lines, so that a stopped loop can continue.
        start: The number of steps that the loop has taken already; with `log`, its probes up to that step count.

    Attributes:
        history: The rows of the probes, which `sparring.doctor.diagnose` reads.

    Raises:
        UserError: Too few samples, shapes that do not match, or a log that cannot be read or belongs to another
            training.
    """

    def __init__(
        self,
        generator: Callable[..., Tensor],
        discriminator: Callable[..., Tensor],
        *,
        real: Samples,
        latents: Samples,
        held_out: Samples | None = None,
        steps: int | None = None,
        loss: Loss | None = None,
        probabilities: bool = False,
        networks: tuple[nn.Module, nn.Module] | None = None,
        batch: int = COUNT,
        log: str | Path | None = None,
        start: int = 0,
    ) -> None:
        if steps is not None:
            check_number("Monitor", "steps", steps, low=1, whole=True)
        check_number("Monitor", "batch", batch, low=1, whole=True)
        check_number("Monitor", "start", start, low=0, whole=True)
        self.networks = networks_of(generator, discriminator, networks)
        self.probe_set = choose_probe_set(real, held_out, latents, batch)
        self.players = UserNetworks(generator, discriminator, self.networks, probabilities).as_players()
        self.steps, self.loss, self.taken = steps, loss, start
        self.log = None if log is None else Log(Path(log).expanduser(), "give another log")
        self.schedule, self.seconds_before, self.began = ProbeSchedule(), 0.0, 0.0
        self.history: list[Row] = []
        if self.log is not None:
            self._continue(self.log)
        self.reported = {finding.failure for finding in self.findings()}

    def step(self) -> list[Finding]:
        """Count a step of the loop, and probe the networks if a probe is due.

        Returns:
            Failures that were not present at the probe before, causes first; usually none.
        """
        self.began = self.began or time.perf_counter()
        self.taken += 1
        last = self.taken == self.steps  # always probed
        return self.probe() if last or self.schedule.due(self._seconds(), self._place(self.taken)) else []

    def probe(self) -> list[Finding]:
        """Probe the networks now, whether or not a probe is due; returns what `step` returns."""
        start = time.perf_counter()
        gradients, progress = _gradients(*self.networks), self._progress()
        found = self.probe_set.probe(self.players, None if self.loss is None else at(self.loss, progress))
        took = time.perf_counter() - start
        self.schedule.took(took, self._place(self.taken))
        self._record(found | gradients, progress, took)
        failures = [finding for finding in self.findings() if is_failure(finding)]
        new = [finding for finding in failures if finding.failure not in self.reported]
        self.reported = {finding.failure for finding in failures}
        return new

    def findings(self) -> list[Finding]:
        """The findings on the training so far: see `diagnose`."""
        unseen = [Finding("too-early", why="The monitor has not seen a step yet.")]
        return diagnose(self.history) if self.history else unseen

    def report(self) -> None:
        """Print the findings, each with its evidence and suggested fixes."""
        print("\n".join(words(f"step {self.taken:,}", self.findings())))

    def _record(self, found: Metrics, progress: float, took: float) -> None:
        """Add a probe to the history and the log. After NaN, a probe with finite values means that the loop restored
        good weights by itself."""
        when = {"step": self.taken, "seconds": round(self._seconds(), 4)}
        if found["finite"] and self.history and kind_of(self.history[-1]) == NOT_FINITE:
            self._append({**when, "event": RESUME})
        self._append({**when, "event": PROBE, "progress": progress, **found, "cost": round(took, 4)})
        if not found["finite"]:
            self._append({**when, "event": NOT_FINITE, "what": "a sample or a logit is NaN or infinite"})

    def _append(self, row: Row) -> None:
        self.history.append(row)
        if self.log is not None:
            self.log.fix = f"free disk space or set permissions, then continue with start={self.taken}"
            self.log.append(row)

    def _continue(self, log: Log) -> None:
        """Read the probes of a log up to `start`, and check that the log is writable."""
        with writing(log.path, "give another log"):
            log.path.open("a", encoding="utf-8").close()
        rows = without_abandoned(log.rows())
        if rows and not self.taken:
            raise UserError(
                f"{log.path} holds a training up to step {rows[-1]['step']}; to continue it, give the number of steps "
                f"taken: start={rows[-1]['step']}; otherwise give another log, or remove the file"
            )
        for row in rows:
            names = ("seconds", "progress", "cost") if kind_of(row) == PROBE else ("seconds",)
            if not all(isinstance(row.get(name), (int, float)) for name in names):
                raise UserError(f"{log.path}, step {row['step']}: this is no row of a monitor's log; give another log")
        log.cut_torn_line()
        self.history = rows
        if not rows:
            return
        self._append({"step": self.taken, "seconds": rows[-1]["seconds"], "event": RESUME})
        self.history = without_abandoned(self.history)
        probes = of_kind(self.history, PROBE)
        self.seconds_before = probes[-1]["seconds"] if probes else 0.0
        self.schedule.resume(probes, lambda row: self._place(row["step"]))

    def _seconds(self) -> float:
        return self.seconds_before + (time.perf_counter() - self.began if self.began else 0.0)

    def _progress(self) -> float:
        """The share of the budget spent, known or assumed."""
        return min(1.0, self.taken / (self.steps or max(LEAST_BUDGET, 2 * self.taken)))

    def _place(self, step: int) -> float:
        """The position of a step on a scale where probes are 1 / MOST apart: the share of the budget, or the logarithm
        of the step where the budget is unknown."""
        return step / self.steps if self.steps else math.log(1 + step / OFFSET) / math.log(1 + GROWTH) / MOST


def _gradients(generator: nn.Module, discriminator: nn.Module) -> Metrics:
    """The norms of the gradients, without those that are not finite: a loss scaler skips such steps, and if weights
    become NaN, the samples show it."""
    found = {}
    for side, network in (("generator", generator), ("discriminator", discriminator)):
        gradients = [p.grad.detach() for p in network.parameters() if p.grad is not None]
        norm = float(total_norm(gradients)) if gradients else math.nan
        if math.isfinite(norm):
            found[f"gradient/{side}"] = norm
    return found
