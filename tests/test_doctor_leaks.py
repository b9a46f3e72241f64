"""Data leaks: what a generator can emit, found before training; and what a confident D uses, found during training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY
from torch import Tensor, nn

import sparring
from sparring import networks
from sparring.base.errors import UserError
from sparring.data.load import load_data
from sparring.doctor.diagnosis.findings import diagnose
from sparring.doctor.probing.leaks import LEVEL, Bounds, emitted, out_of_reach, repairs
from sparring.networks import DCGANGenerator, MLPGenerator, R3GANGenerator, ResNetGenerator
from sparring.networks.images import ImageGenerator
from sparring.run.directory import Run

INF = math.inf
IMAGE = (3, 8, 8)


class Ends(nn.Module):
    """Two layers, and a function of their output that is not a module."""

    def __init__(self, end: Callable[[Tensor], Tensor], *after: nn.Module, shape: tuple[int, ...] = (2, 4, 4)) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, math.prod(shape)))
        self.after, self.end, self.shape = nn.Sequential(*after), end, shape

    def forward(self, latent: Tensor) -> Tensor:
        return self.end(self.after(self.layers(latent).unflatten(1, self.shape)))


class OneLayer(nn.Module):
    """A single module with weights and an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)))

    def forward(self, latent: Tensor) -> Tensor:
        return torch.tanh(latent @ self.weight)


class Padded(MLPGenerator):
    """A mistake: the two outer rows and columns are always 0, whatever the data has there."""

    def __init__(self, latent_size: int, shape: tuple[int, ...]) -> None:
        super().__init__(latent_size, (shape[0], shape[1] - 4, shape[2] - 4), hidden=(256, 256, 256))

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        return F.pad(super().forward(latent, label), (2, 2, 2, 2))


class Sigmoid(MLPGenerator):
    """A mistake: outputs in 0 to 1, although the data is in -1 to 1."""

    def __init__(self, latent_size: int, shape: tuple[int, ...]) -> None:
        super().__init__(latent_size, shape, hidden=(32,))
        self.layers[-1] = nn.Sigmoid()


class TanhPoints(MLPGenerator):
    """A mistake: it cannot reach the outer points."""

    def __init__(self, latent_size: int, shape: tuple[int, ...]) -> None:
        super().__init__(latent_size, shape, hidden=(32,))
        self.layers.append(nn.Tanh())


def bounds_of(network: nn.Module, latent_size: int = 8, count: int = 256) -> Bounds:
    latent = torch.randn(count, latent_size, generator=torch.Generator().manual_seed(1))
    return emitted(network, lambda copied: copied(latent))


def span(bounds: Bounds) -> tuple[float, float]:
    """The lower and the upper bound, which are the same everywhere."""
    assert bounds.low.unique().numel() == bounds.high.unique().numel() == 1, bounds
    return float(bounds.low.flatten()[0]), float(bounds.high.flatten()[0])


NAMED: list[tuple[Any, tuple[int, ...], dict[str, Any], tuple[float, float]]] = [
    (MLPGenerator, IMAGE, {"hidden": (12,)}, (-1, 1)),
    (MLPGenerator, (2,), {"hidden": (12,)}, (-INF, INF)),
    (DCGANGenerator, IMAGE, {"width": 4}, (-1, 1)),
    (ResNetGenerator, IMAGE, {"width": 4, "most": 4}, (-1, 1)),
    (ResNetGenerator, IMAGE, {"width": 4, "most": 4, "spectral_norm": True}, (-1, 1)),
    (R3GANGenerator, IMAGE, {"width": 8, "most": 8, "group": 4}, (-INF, INF)),
]


def test_all_generators_are_covered() -> None:
    generators = [getattr(networks, name) for name in networks.__all__ if "Generator" in name]
    assert {kind for kind, *_ in NAMED} == {kind for kind in generators if not issubclass(kind, ImageGenerator)}


@pytest.mark.parametrize(("kind", "shape", "options", "expected"), NAMED)
def test_bounds_of_built_in_generators(
    kind: Any, shape: tuple[int, ...], options: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert span(bounds_of(kind(8, shape, **options))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Ends(torch.tanh), (-1, 1)),
        (Ends(torch.sigmoid), (0, 1)),
        (Ends(F.relu), (0, INF)),
        (Ends(F.hardtanh), (-1, 1)),
        (Ends(lambda x: x.clamp(0, 255)), (0, 255)),
        (Ends(lambda x: 0.5 * x.tanh() + 0.5), (0, 1)),
        (Ends(F.leaky_relu), (-INF, INF)),
        (Ends(lambda x: x), (-INF, INF)),
        (Ends(lambda x: x, nn.BatchNorm2d(2)), (-INF, INF)),
        (Ends(lambda x: x, nn.BatchNorm2d(2, affine=False)), (-INF, INF)),
        (Ends(torch.tanh, nn.BatchNorm2d(2)), (-1, 1)),
        (Ends(torch.tanh, nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 1))), (-1, 1)),
        (OneLayer(), (-1, 1)),
    ],
)
def test_bounds_of_own_generators(network: nn.Module, expected: tuple[float, float]) -> None:
    assert span(bounds_of(network)) == pytest.approx(expected, abs=1e-6)


def test_each_place_has_its_bounds() -> None:
    mixed = bounds_of(Ends(lambda x: torch.cat([x[:, :1].tanh(), x[:, 1:].sigmoid()], 1)))
    assert mixed.low[:, 0, 0].tolist() == pytest.approx([-1, 0])
    padded = bounds_of(Padded(8, (1, 8, 8)))
    assert (padded.low[:, :2] == 0).all()
    assert (padded.high[:, :2] == 0).all()
    assert padded.low[0, 4, 4] == pytest.approx(-1)


def test_zero_weights_do_not_hide_the_bounds() -> None:
    for end, expected in ((torch.tanh, (-1, 1)), (lambda x: x, (-INF, INF))):
        network = Ends(end)
        for weight in network.layers[2].parameters():
            nn.init.zeros_(weight)
        assert span(bounds_of(network)) == pytest.approx(expected)
    nothing = OneLayer()
    nn.init.zeros_(nothing.weight)
    assert span(bounds_of(nothing)) == (-INF, INF)


def test_finding_bounds_has_no_side_effects() -> None:
    network = DCGANGenerator(8, IMAGE, width=4).train()  # with batch statistics
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    bounds_of(nn.Sequential(network, nn.Dropout()))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def everywhere(low: float, high: float, shape: tuple[int, ...]) -> Bounds:
    return Bounds(torch.full(shape, float(low)), torch.full(shape, float(high)))


def test_values_out_of_reach() -> None:
    digits = load_data("digits").batch(torch.arange(256))["real"]
    assert (
        out_of_reach(everywhere(-1, 1, (1, 8, 8)), digits) is None
    )  # many values are -1, which tanh never quite reaches
    assert out_of_reach(everywhere(-INF, INF, (1, 8, 8)), digits) is None
    found = out_of_reach(everywhere(0, 1, (1, 8, 8)), digits)
    assert found is not None
    assert found.share == pytest.approx((digits < -0.2).double().mean().item())
    assert (found.low, found.high, found.real_low) == (0, 1, -1)
    assert "Tanh" in found.describe(points=False)


def test_one_channel_out_of_reach() -> None:
    real = torch.rand(100, 3, 4, 4) * 2 - 1
    bounds = everywhere(-1, 1, (3, 4, 4))
    bounds.high[1] = 0.5
    found = out_of_reach(bounds, real)
    assert found is not None
    assert (found.channel, found.high) == (1, 0.5)
    real[:, 1].clamp_(max=0.6)
    assert out_of_reach(bounds, real) is None  # by less than a tenth of the range
    real[0, 1, 0, 0] = 1  # one of 1,600
    assert out_of_reach(bounds, real) is None


def test_points_out_of_reach() -> None:
    data = load_data("ring")
    real = data.batch(torch.arange(0, len(data), 100))["real"]
    found = out_of_reach(everywhere(-1, 1, (2,)), real)
    assert found is not None
    assert found.share == pytest.approx(1 / 4, abs=0.06)  # two of eight modes in each coordinate
    assert "linear layer" in found.describe(points=True)
    assert out_of_reach(everywhere(-1.4, 1.4, (2,)), real) is None


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8), (1, 9, 8), ()])
def test_samples_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="choose a generator for the shape of the data"):
        out_of_reach(everywhere(-1, 1, (1, 8, 8)), torch.zeros(5, *shape))


def test_a_generator_of_scalars_is_refused() -> None:
    with pytest.raises(UserError, match=r"must be \[n, \.\.\.\]"):
        bounds_of(Ends(lambda x: x.flatten(1).sum(1)))


def images(count: int = 200) -> Tensor:
    """Random bytes as networks see them, [n, 3, 6, 6]."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, 6, 6), generator=rng) * LEVEL - 1


def test_real_samples_need_no_repair() -> None:
    real = images()
    real[:, 2], real[:, :, 0] = 0.5 - 0.5 % LEVEL, -1
    found = repairs(real)
    assert set(found) == {"range", "rounding", "border"}
    real[:, 2] = 1
    found = repairs(real)
    assert set(found) == {"range", "rounding", "channel", "border"}
    for name, repair in found.items():
        assert torch.allclose(repair(real[:50]), real[:50], atol=0.02), name


def test_repairs_repair_their_artifact_alone() -> None:
    real = images()
    real[:, 2], real[:, :2, 0] = 1, -1
    found = repairs(real)
    fake = images(64).flip(0)
    assert (found["channel"](fake)[:, 2] == 1).all()
    assert torch.equal(found["channel"](fake)[:, :2], fake[:, :2])
    assert (found["border"](fake)[:, :2, 0] == -1).all()
    assert torch.equal(found["border"](fake)[:, :, 1:], fake[:, :, 1:])
    assert found["range"](2 * fake).abs().max() <= 1
    narrow = found["range"](0.9 * fake)[:, :2]
    assert narrow.amax() == pytest.approx(1, abs=0.03)
    assert torch.equal(found["range"](0.2 * fake)[:, :2], 0.2 * fake[:, :2])  # more than the range differs
    few = torch.where(images() > 0, 1.0, -1.0)
    assert torch.equal(repairs(few)["rounding"](fake), torch.where(fake > 0, 1.0, -1.0))


def test_repairs_of_points() -> None:
    real = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    assert set(repairs(real)) == {"range"}
    real[:, 1] = 0.25
    assert set(repairs(real)) == {"range", "channel"}
    rounded = repairs(real.mul(4).round().div(4))
    assert set(rounded) == {"range", "rounding", "channel"}
    assert rounded["rounding"](torch.tensor([[0.3, 9.0, -0.45]])).tolist() == [[0.25, 0.25, -0.5]]
    assert rounded["range"](torch.tensor([[50.0, 0.25, 0.0]]))[0, 0] < 5


OPTIONS: dict[str, Any] = {
    "penalties": "",
    "discriminator": "MLPDiscriminator(hidden=(32,))",
    "precision": "fp32",
    "device": TINY["device"],
    "pictures": 1,
    "log_every": 5,
    "doctor": "watch",
    "trust": True,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "generator", "fix"), [("digits", "Sigmoid()", "Tanh"), ("ring", "TanhPoints()", "linear layer")]
)
def test_a_leak_is_reported_before_the_first_step(
    data: str, generator: str, fix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {**OPTIONS, "data": data, "generator": f"{__name__}.{generator}"}
    path = sparring.train("digits", out=tmp_path / "run", steps=2, **options)
    assert fix in capfd.readouterr().err
    rows = [row for row in Run.open(path).entries() if row.get("event") != "threads"]
    assert (rows[0]["event"], rows[0]["step"]) == ("leak", 0)
    (found,) = diagnose(rows[:1])
    assert (found.failure, found.since_step, found.evidence[0].name) == ("data-leak", 0, "leak/share")
    sparring.resume(path, steps=4, trust=True)
    assert [row.get("event") for row in Run.open(path).entries()].count("leak") == 1
    assert diagnose(Run.open(path).history())[0].failure == "data-leak"


@pytest.mark.parametrize("changes", [{}, {"data": "ring"}, {"generator": "R3GANGenerator(width=8, most=8, group=4)"}])
def test_generators_that_fit_have_no_leak(changes: dict[str, Any], tmp_path: Path) -> None:
    options = {**OPTIONS, "generator": "MLPGenerator(hidden=(32,))", **changes}
    path = sparring.train("digits", out=tmp_path / "run", steps=1, **options)
    assert not [row for row in Run.open(path).entries() if row.get("event") == "leak"]


def test_a_run_without_the_doctor_is_not_checked(tmp_path: Path) -> None:
    options = {**OPTIONS, "generator": f"{__name__}.Sigmoid()", "doctor": "off"}
    path = sparring.train("digits", out=tmp_path / "run", steps=1, **options)
    assert not [row for row in Run.open(path).entries() if row.get("event") == "leak"]


def padded_digits(path: Path) -> str:
    """Digits of 12x12 in a grey frame: 16x16."""
    digits = load_data("digits").samples.float()
    larger = F.interpolate(digits, size=12, mode="bilinear").round().clamp(0, 255)
    np.savez(path, images=F.pad(larger, (2, 2, 2, 2), value=90).to(torch.uint8)[:, 0].numpy())
    return str(path)


CALM = {
    **OPTIONS,
    "discriminator": "MLPDiscriminator(hidden=(256, 256, 256))",
    "generator": "MLPGenerator(hidden=(256, 256, 256))",
    "loss": "RelativisticPairing()",
    "penalties": "R1(weight=0.1), R2(weight=0.1)",
    "turns": "Alternating()",
    "generator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "discriminator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "log_every": 20,
    "steps": 1000,
}


def probes(path: Path) -> list[dict[str, Any]]:
    return [row for row in Run.open(path).history() if row.get("event") != "leak"]


@pytest.mark.slow
def test_a_leak_is_reported_during_training(tmp_path: Path) -> None:
    """The generator emits the frame in another grey; the finding from before training is left out."""
    options = {**CALM, "data": padded_digits(tmp_path / "padded.npz"), "generator": f"{__name__}.Padded()"}
    found, *_ = diagnose(probes(sparring.train("digits", out=tmp_path / "run", **options)))
    assert found.failure == "data-leak"
    assert [each.name for each in found.evidence] == ["auc/train", "leak/border"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": "padded"},  # the generator learns the frame
        {"loss": "Minimax()", "turns": "Alternating(n_critic=10)", "penalties": "", "steps": 400},  # D wins
        {"loss": "NonSaturating()", "generator_optimizer": "Adam(lr=2e-2)", "penalties": ""},  # G collapses
        {"data": "ring", "loss": "Minimax()", "turns": "Alternating(n_critic=10)", "penalties": "", "steps": 400},
    ],
)
def test_no_leak_is_reported_without_one(changes: dict[str, Any], tmp_path: Path) -> None:
    options = {**CALM, **changes}
    if options.get("data") == "padded":
        options["data"] = padded_digits(tmp_path / "padded.npz")
    path = sparring.train("digits", out=tmp_path / "run", **options)
    tested = [row for row in probes(path) if any(name.startswith("leak/") for name in row)]
    assert tested, "D's AUC was never high, so nothing was tested"
    assert "data-leak" not in [finding.failure for finding in diagnose(Run.open(path).history())]
