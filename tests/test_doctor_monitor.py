"""The monitor in hand-written loops: it changes no bit, and reports injected faults."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.data.load import load_data
from sparring.doctor import Monitor
from sparring.doctor.probing import probing
from sparring.doctor.probing.probing import MOST, SHARE, ProbeSchedule
from sparring.game.losses import Minimax, NonSaturating, TopK

STEPS = 100


@pytest.fixture
def all_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops here take almost no time; allow a hundred probes anyway."""
    monkeypatch.setattr(probing, "SHARE", math.inf)


def ring(split: str = "train") -> Tensor:
    data = load_data("ring")
    points = data.form.to_input(data.samples)
    return points[:3000] if split == "train" else points[3000:4000]


class Points(nn.Module):
    """A generator that returns its latents, here points of the ring, or nearly one point once it collapses."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.collapsed = False

    def forward(self, latents: Tensor) -> Tensor:
        return self.scale * (latents * 0.02 + ring()[0] if self.collapsed else latents)


def constant() -> nn.Module:
    """A discriminator with the same output for all samples."""
    layer = nn.Linear(2, 1)
    nn.init.zeros_(layer.weight)
    return layer


def monitor_of(**changes: object) -> Monitor:
    given = {"real": ring(), "latents": ring("test")[:256], "steps": STEPS, **changes}
    return Monitor(Points(), constant(), **given)  # type: ignore[arg-type]


def probes_of(monitor: Monitor) -> list[dict[str, float]]:
    return [row for row in monitor.history if row.get("event") == "probe"]


def networks() -> tuple[nn.Module, nn.Module]:
    """Networks with everything that forward passes change: dropout, batch statistics, power iterations."""
    norm = nn.utils.parametrizations.spectral_norm
    generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
    discriminator = nn.Sequential(norm(nn.Linear(2, 16)), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(16, 1))
    return generator, discriminator


def trained(watched: bool, as_functions: bool = False) -> list[Tensor]:
    """The state after a loop: weights, buffers, gradients, optimisers' moments, random state."""
    torch.manual_seed(0)
    generator, discriminator = networks()
    real, loss = ring(), nn.BCEWithLogitsLoss()
    optimizers = [torch.optim.Adam(player.parameters(), 1e-2) for player in (generator, discriminator)]
    fixed = torch.randn(64, 4)
    monitor = None
    if watched:
        functions = {"generator": lambda z: generator(z), "discriminator": lambda x: discriminator(x)}
        given = {"generator": generator, "discriminator": discriminator}
        shared = {"real": real, "held_out": ring("test"), "latents": fixed, "steps": 24, "loss": NonSaturating()}
        modules = {"networks": (generator, discriminator)} if as_functions else {}
        monitor = Monitor(**(functions if as_functions else given), **shared, **modules)  # type: ignore[arg-type]
    for step in range(24):
        generator.train(step % 3 > 0)
        fake = generator(torch.randn(32, 4))
        optimizers[0].zero_grad()
        loss(discriminator(fake), torch.ones(32, 1)).backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        batch = real[torch.randint(len(real), (32,))]
        logits = torch.cat([discriminator(batch), discriminator(fake.detach())])
        loss(logits, torch.cat([torch.ones(32, 1), torch.zeros(32, 1)])).backward()
        optimizers[1].step()
        if monitor is not None:
            monitor.step()
            monitor.probe()
            assert generator.training == (step % 3 > 0)
            assert discriminator.training
    if monitor is not None:
        assert len(probes_of(monitor)) > 24
        assert probes_of(monitor)[-1]["gradient/generator"] > 0
    found = [*generator.state_dict().values(), *discriminator.state_dict().values(), torch.get_rng_state()]
    found += [p.grad for player in (generator, discriminator) for p in player.parameters() if p.grad is not None]
    return found + [each for o in optimizers for state in o.state.values() for each in state.values()]


@pytest.mark.parametrize("as_functions", [False, True])
def test_a_loop_ends_with_the_same_bits_with_and_without_monitor(as_functions: bool) -> None:
    with_it, without_it = trained(True, as_functions), trained(False)
    assert len(with_it) == len(without_it) > 20
    for first, second in zip(with_it, without_it):
        assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.usefixtures("all_probes")
def test_a_collapse_is_reported_when_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = monitor_of()
    reported = []
    for step in range(1, STEPS + 1):
        monitor.networks[0].collapsed = step >= 40
        reported += [(step, finding) for finding in monitor.step()]
    assert {finding.failure for step, finding in reported if step < 60} >= {"mode-collapse"}
    assert min(step for step, _ in reported) >= 40
    (found,) = [finding for finding in monitor.findings() if finding.failure == "mode-collapse"]
    assert 41 <= found.since_step <= 43  # a gross collapse is judged by the median of three probes, so two must show it
    assert len([v for _, v in reported if v.failure == "mode-collapse"]) == 1  # it is reported once
    assert "mode-collapse since step" in str(found)
    monitor.report()
    printed = capsys.readouterr().out
    assert "mode-collapse since step" in printed
    assert "relativistic pairing" in printed
    assert "sparring train" not in printed


@pytest.mark.slow
@pytest.mark.usefixtures("all_probes")
def test_good_samples_have_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = monitor_of(held_out=ring("test")[300:])
    assert monitor.findings()[0].failure == "too-early"
    assert not [finding for _ in range(STEPS) for finding in monitor.step()]
    assert [finding.failure for finding in monitor.findings()] == ["healthy"]
    monitor.report()
    assert capsys.readouterr().out == "step 100: healthy\n"
    assert "auc/memory" in probes_of(monitor)[-1]
    assert "signal" not in probes_of(monitor)[-1]  # no loss was given


def linear(sigmoid: bool, bias: float) -> nn.Module:
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, 3.0)
    nn.init.constant_(layer.bias, bias)
    return nn.Sequential(layer, nn.Sigmoid()) if sigmoid else layer


def test_probabilities_have_the_metrics_of_logits() -> None:
    shared = {"real": ring(), "latents": ring("test")[:256], "loss": Minimax()}
    logits = Monitor(Points(), linear(False, -1), **shared)  # type: ignore[arg-type]
    probabilities = Monitor(Points(), linear(True, -1), **shared, probabilities=True)  # type: ignore[arg-type]
    for monitor in (logits, probabilities):
        monitor.step()
    first, second = probes_of(logits)[0], probes_of(probabilities)[0]
    for name in ("signal", "auc/train", "logit/scale", "logit/gap"):
        assert first[name] == pytest.approx(second[name], rel=1e-4), name
    assert first["signal"] < 0.5  # the slope of the minimax loss is the probability


def test_probabilities_of_0_and_1_are_finite() -> None:
    monitor = Monitor(Points(), linear(True, -500), real=ring(), latents=ring("test"), probabilities=True)
    monitor.step()
    assert probes_of(monitor)[0]["finite"] == 1


def test_logits_and_probabilities_are_not_confused() -> None:
    with pytest.raises(UserError, match="add probabilities=True"):
        Monitor(Points(), linear(True, 0), real=ring(), latents=ring("test")).step()
    with pytest.raises(UserError, match="leave it out"):
        Monitor(Points(), linear(False, 0), real=ring(), latents=ring("test"), probabilities=True).step()


def test_nan_is_reported_at_once_until_it_is_gone() -> None:
    monitor = monitor_of()
    monitor.step()
    with torch.no_grad():
        monitor.networks[0].scale.fill_(math.nan)
    (found,) = monitor.probe()
    assert found.failure == "divergence"
    assert found.since_step == 1
    assert monitor.probe() == []  # it was reported
    with torch.no_grad():
        monitor.networks[0].scale.fill_(1.0)
    monitor.probe()
    assert monitor.findings()[0].failure == "too-early"


def test_a_gradient_that_a_scaler_skips_is_no_divergence() -> None:
    monitor = monitor_of()
    monitor.networks[0].scale.grad = torch.tensor(math.inf)
    assert monitor.step() == []
    assert "gradient/generator" not in probes_of(monitor)[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("all_probes")
def test_a_stopped_loop_continues_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "watch.jsonl"
    whole = monitor_of()
    first = monitor_of(log=log)
    for monitor in (whole, first):
        monitor.networks[0].collapsed = True
        for _ in range(60):
            monitor.step()
    with log.open("a") as file:
        file.write('{"step": 61, "sec')  # killed while writing
    with pytest.raises(UserError, match="start=60"):
        monitor_of(log=log)
    second = monitor_of(log=log, start=50)
    assert len(probes_of(second)) == 50  # without those of later steps
    second.networks[0].collapsed = whole.networks[0].collapsed = True
    for _ in range(50):
        assert second.step() == []  # it was reported before the stop
    for _ in range(40):
        whole.step()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows if row.get("event") == "probe"][-1] == STEPS
    assert [v.failure for v in second.findings()] == [v.failure for v in whole.findings()]
    assert second.findings()[0].since_step == whole.findings()[0].since_step
    assert second.history[-1]["seconds"] >= rows[40]["seconds"]


def test_a_log_of_something_else_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 3, "loss": 1.0}\n')
    with pytest.raises(UserError, match="no row of a monitor's log"):
        monitor_of(log=log, start=3)
    log.write_text("step,loss\n3,1.0\n")
    with pytest.raises(UserError, match="line 1 is damaged"):
        monitor_of(log=log, start=3)
    with pytest.raises(UserError, match="give another log"):
        monitor_of(log=tmp_path)
    with pytest.raises(UserError, match="give another log"):
        monitor_of(log=tmp_path / "nowhere" / "log.jsonl")


X, Y = torch.randn(100, 2), torch.zeros(100, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": X[:31]}, r"latents is \[31, 2\]; .* 32 or more rows: latents=torch.randn"),
        ({"real": X[:63]}, r"real is \[63, 2\]; a probe needs 64 or more"),
        ({"held_out": X[:31]}, "32 or more rows: give more, or leave out held_out"),
        ({"held_out": torch.randn(100, 3)}, "as the discriminator sees them"),
        ({"real": torch.zeros(100, 1, 28, 28, dtype=torch.uint8)}, r"real=images / 127.5 - 1"),
        ({"real": X * math.nan}, "remove such samples"),
        ({"real": X.numpy()}, "must be a tensor"),
        ({"real": (X, Y)}, "with all of latents, real and held_out"),
        ({"real": (X, Y[:50]), "latents": (X, Y)}, r"give one int64 per sample: \[100\]"),
        ({"steps": 0}, "steps=0 must be a whole number"),
        ({"batch": 0}, "batch=0 must be"),
        ({"start": -1}, "start=-1 must be"),
        ({"networks": (1, 2)}, r"networks=\(G, D\)"),
    ],
)
def test_mistakes_are_refused_with_their_fix(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        monitor_of(**changes)


def test_networks_that_do_not_fit_are_refused() -> None:
    shared = {"real": ring(), "latents": torch.randn(64, 4)}
    with pytest.raises(UserError, match=r"networks=\(G, D\)"):
        Monitor(lambda z: z, constant(), **shared)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="real=images.flatten"):
        Monitor(nn.Linear(4, 3), constant(), **shared).step()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="lambda z"):
        Monitor(nn.LSTM(4, 2), constant(), **shared).step()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="lambda x"):
        Monitor(nn.Linear(4, 2), nn.Sequential(nn.Flatten(0)), **shared).step()  # type: ignore[arg-type]


class Classes(nn.Module):
    """A generator of points that depend on the class, or do not."""

    def __init__(self, ignored: bool) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(2, 2) if ignored else torch.tensor([[3.0, 0.0], [-3.0, 0.0]]))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return latents + self.places[labels]


class ByClass(nn.Module):
    """A discriminator that sees the class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:
        return self.layer(samples).gather(1, labels[:, None])


@pytest.mark.usefixtures("all_probes")
@pytest.mark.parametrize("ignored", [True, False])
def test_an_ignored_class_is_reported(ignored: bool) -> None:
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    real = torch.randn(400, 2) + Classes(False).places.detach()[labels]
    generator = Classes(ignored)
    monitor = Monitor(generator, ByClass(), real=(real, labels), latents=(torch.randn(200, 2), labels[:200]), steps=50)
    found = {finding.failure for _ in range(50) for finding in monitor.step()}
    assert ("ignored-condition" in found) == ignored


@pytest.mark.usefixtures("all_probes")
def test_without_a_budget_probes_become_rarer() -> None:
    monitor = monitor_of(steps=None, loss=TopK())
    steps_taken = iter(monitor.step() for _ in range(400))
    assert number_of(steps_taken) == 400
    steps = [row["step"] for row in probes_of(monitor)]
    assert 15 < len(steps) < 30
    gaps = [later - earlier for earlier, later in zip(steps, steps[1:])]
    assert gaps == sorted(gaps)
    assert monitor.findings()[0].failure == "healthy"
    assert all(row["progress"] < 0.6 for row in probes_of(monitor))  # the end of the budget never comes
    early = [row for row in monitor.history if row["step"] < 200]
    monitor.history = early
    assert monitor.findings()[0].failure == "too-early"
    assert MOST * monitor._place(500_000) < 100


def number_of(steps: Iterator[object]) -> int:
    return sum(1 for _ in steps)


def test_probes_wait_until_there_is_time() -> None:
    schedule = ProbeSchedule()
    seconds, spent, count = 0.0, 0.0, 0
    for step in range(1, 1001):
        seconds += 1.0
        if schedule.due(seconds, step / 1000):
            schedule.took(3.0, step / 1000)
            seconds, spent, count = seconds + 3.0, spent + 3.0, count + 1
        assert spent <= max(3.0, SHARE * seconds)
    assert 12 <= count <= 17
    quick = ProbeSchedule()
    for step in range(1, 10_001):
        if quick.due(float(step), step / 10_000):
            quick.took(0.0, step / 10_000)
    assert quick.spent == 0
    assert quick.probed_at > 0.99


def test_after_the_budget_not_each_step_is_probed() -> None:
    monitor = monitor_of(steps=10)
    for _ in range(10):
        monitor.step()
    before = len(probes_of(monitor))
    assert probes_of(monitor)[-1]["step"] == 10
    for _ in range(200):
        monitor.step()
    assert len(probes_of(monitor)) - before < 20
