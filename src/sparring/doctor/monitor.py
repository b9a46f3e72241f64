"""The doctor beside any training loop that somebody wrote by hand."""

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
from sparring.doctor.probing.own import OwnPlayers, Samples, chosen, networks_of
from sparring.doctor.probing.probing import COUNT, MOST, ProbeSchedule
from sparring.doctor.probing.reference import Numbers
from sparring.game.losses import Loss
from sparring.game.schedules import at
from sparring.run.log import NOT_FINITE, PROBE, RESUME, Log, Row, kind_of, of_kind, without_abandoned

FASTEST = 2000  # steps: the shortest budget that is assumed where none is known
APART = 0.1  # by how much the steps grow between looks, where the budget is not known
LENGTHEN = 50  # steps that are counted in with them, so that the first looks are not a step apart


class Monitor:
    """Looks at two players while a loop trains them, and tells what is wrong with the training.

    Call `step()` once a step, after both players' turns. A look changes no bit of the training: random numbers,
    buffers, gradients and modes stay as they are. There are up to 100 looks, for at most 5 % of the loop's time, the
    first at the first step. What is measured, and when a verdict holds: docs/doctor.md.

    Args:
        generator: a module or function: latents -> samples.
        discriminator: a module or function: samples -> logits, of any shape [n, ...].
        real: training samples as the discriminator sees them, [n, ...] floats, at least 64; some of them are kept.
        latents: what the generator is fed with in each look, [n, ...], at least 32; 256 are best.
        held_out: samples of the same distribution that the loop does not train on, at least 32. Only with them can the
            verdicts tell whether D knows its training samples by heart.
        steps: how many steps the loop will take. None assumes twice what was seen, and 2,000 at least: nothing is said
            before step 340, lack of variety that still improves is never called an illness, and medians go over the
            last two fifths of the steps so far.
        loss: one of `sparring.game.losses` that is the generator's, without which `vanishing-gradient` is never told;
            `NonSaturating()` where G aims at `BCELoss(D(G(z)), ones)`.
        probabilities: D gives probabilities, since its last layer is a sigmoid.
        networks: the modules (G, D) that are behind functions; needed where a player is not a module itself.
        batch: how many samples the players see at once.
        log: a file that the looks are written to as JSON lines, so that a loop that was stopped can go on.
        start: how many steps the loop has taken already; with a log, its looks up to there count.

    `latents`, `real` and `held_out` of players that see classes are pairs of tensors: samples or latents, and int64
    labels [n]. Then `generator(latents, labels)` and `discriminator(samples, labels)` are called.

    Raises:
        UserError: too few samples, shapes that do not fit, or a log that cannot be read or belongs to another training.
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
        self.probe_set = chosen(real, held_out, latents, batch)
        self.players = OwnPlayers(generator, discriminator, self.networks, probabilities).asked()
        self.steps, self.loss, self.taken = steps, loss, start
        self.log = None if log is None else Log(Path(log).expanduser(), "give another log")
        self.schedule, self.before, self.began = ProbeSchedule(), 0.0, 0.0
        self.history: list[Row] = []
        if self.log is not None:
            self._go_on(self.log)
        self.reported = {finding.failure for finding in self.findings()}

    def step(self) -> list[Finding]:
        """Count a step of the loop; look at the players, if it is time to. Returns the illnesses that were not told at
        the look before, causes first; mostly none."""
        self.began = self.began or time.perf_counter()
        self.taken += 1
        last = self.taken == self.steps  # it always has a look
        return self.probe() if last or self.schedule.due(self._seconds(), self._place(self.taken)) else []

    def probe(self) -> list[Finding]:
        """Look at the players now, whether or not it is time to, and return what `step` returns."""
        start = time.perf_counter()
        gradients, progress = _gradients(*self.networks), self._progress()
        found = self.probe_set.probe(self.players, None if self.loss is None else at(self.loss, progress))
        took = time.perf_counter() - start
        self.schedule.took(took, self._place(self.taken))
        self._note(found | gradients, progress, took)
        found_now = [finding for finding in self.findings() if is_failure(finding)]
        new = [finding for finding in found_now if finding.failure not in self.reported]
        self.reported = {finding.failure for finding in found_now}
        return new

    def findings(self) -> list[Finding]:
        """What is to be said of the training as it stands: see `diagnose`."""
        unseen = [Finding("too-early", why="The monitor has not seen a step yet.")]
        return diagnose(self.history) if self.history else unseen

    def report(self) -> None:
        """Print the verdicts in words, each with its evidence and what helps."""
        print("\n".join(words(f"step {self.taken:,}", self.findings())))

    def _note(self, found: Numbers, progress: float, took: float) -> None:
        """Add a look to the history and the log. NaN tells at once that the training is lost; a loop that went back to
        good weights by itself is believed."""
        when = {"step": self.taken, "seconds": round(self._seconds(), 4)}
        if found["finite"] and self.history and kind_of(self.history[-1]) == NOT_FINITE:
            self._append({**when, "event": RESUME})
        self._append({**when, "event": PROBE, "progress": progress, **found, "cost": round(took, 4)})
        if not found["finite"]:
            self._append({**when, "event": NOT_FINITE, "what": "a sample or a logit is NaN or infinite"})

    def _append(self, row: Row) -> None:
        self.history.append(row)
        if self.log is not None:
            self.log.fix = f"make room or set its rights, then go on with start={self.taken}"
            self.log.append(row)

    def _go_on(self, log: Log) -> None:
        """Take over the looks that a log holds up to `start`, and see that it can be written."""
        with writing(log.path, "give another log"):
            log.path.open("a", encoding="utf-8").close()
        rows = without_abandoned(log.rows())
        if rows and not self.taken:
            raise UserError(
                f"{log.path} holds a training up to step {rows[-1]['step']}; to go on with it, give the steps that "
                f"were taken: start={rows[-1]['step']}; else give another log, or remove the file"
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
        self.before = probes[-1]["seconds"] if probes else 0.0
        self.schedule.go_on(probes, lambda row: self._place(row["step"]))

    def _seconds(self) -> float:
        return self.before + (time.perf_counter() - self.began if self.began else 0.0)

    def _progress(self) -> float:
        """The share of the budget that is spent."""
        return min(1.0, self.taken / (self.steps or max(FASTEST, 2 * self.taken)))

    def _place(self, step: int) -> float:
        """Where a step is on a scale on which looks are 1 / MOST apart: shares of the budget or, where that is not
        known, the logarithm of the steps, so that they grow by a tenth from look to look."""
        return step / self.steps if self.steps else math.log(1 + step / LENGTHEN) / math.log(1 + APART) / MOST


def _gradients(generator: nn.Module, discriminator: nn.Module) -> Numbers:
    """The norms of the gradients that there are. Those that are not finite are left out: a loss scaler skips such
    steps, and weights that they spoilt show in the samples."""
    found = {}
    for side, network in (("generator", generator), ("discriminator", discriminator)):
        gradients = [p.grad.detach() for p in network.parameters() if p.grad is not None]
        norm = float(total_norm(gradients)) if gradients else math.nan
        if math.isfinite(norm):
            found[f"gradient/{side}"] = norm
    return found
