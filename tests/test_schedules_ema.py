"""Schedules, the moving average, latents and seeds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils._python_dispatch import TorchDispatchMode

from sparring import load, train
from sparring.assemble.build import training_data
from sparring.assemble.start import start_state
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.game.ema import EMA, recompute_statistics
from sparring.game.inputs import Normal, Uniform
from sparring.game.schedules import Constant, Cosine, Linear, value_at
from sparring.networks.layers import ConditionalBatchNorm
from sparring.run import Run


def test_schedules() -> None:
    assert [Linear(2, 0)(t) for t in (0, 0.5, 1)] == [2, 1, 0]
    assert [Linear(1, 0, begin=0.5)(t) for t in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]
    assert [Linear(1, 3, finish=0.5)(t) for t in (0, 0.25, 0.5, 1)] == [1, 2, 3, 3]
    assert [Cosine(4, 0)(t) for t in (0, 0.5, 1)] == pytest.approx([4, 2, 0])
    assert Cosine(1, 0)(0.25) == pytest.approx((1 + 0.5**0.5) / 2)
    assert Constant(3)(0.7) == value_at(3, 0.7) == value_at(Constant(3), 0.2) == 3


@pytest.mark.parametrize("begin_finish", [(0.5, 0.5), (0.7, 0.2), (-0.1, 1), (0, 1.5)])
def test_a_schedule_of_no_length_is_rejected(begin_finish: tuple[float, float]) -> None:
    with pytest.raises(UserError):
        Linear(1, 0, *begin_finish)


def average_of_zero_and_ones(ema: EMA, seen: int, steps: int) -> float:
    """An average of weights that start at 0 and are 1 for some steps."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = ema.start(network)
    nn.init.ones_(network.weight)
    for step in range(steps):
        ema.update(average, network, seen=seen + 64 * step, batch_size=64)
    return average.weight.item()


def test_the_average_halves_old_weights_after_its_half_life() -> None:
    assert average_of_zero_and_ones(EMA(half_life=640, ramp_up=1e9), seen=10_000, steps=10) == pytest.approx(0.5)


def test_the_average_ramps_up() -> None:
    # after 1,280 images the half-life is 64 of them
    assert average_of_zero_and_ones(EMA(half_life=1e9, ramp_up=0.05), seen=1280, steps=1) == pytest.approx(0.5)


def test_running_statistics_are_averaged_like_weights_and_other_buffers_copied() -> None:
    norms = nn.Sequential(nn.BatchNorm1d(3), ConditionalBatchNorm(3, classes=2))
    network = nn.ModuleList([norms, spectral_norm(nn.Linear(3, 3)), nn.InstanceNorm1d(3, track_running_stats=True)])
    ema = EMA(half_life=8, ramp_up=1e9)
    average = ema.start(network)
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.add_(2)
    before = {name: buffer.clone() for name, buffer in average.named_buffers()}
    ema.update(average, network, seen=8, batch_size=8)  # one half-life: halfway
    for name, buffer in network.named_buffers():
        averaged = name.startswith("0.") and "running" in name
        wanted = (before[name] + buffer) / 2 if averaged else buffer
        torch.testing.assert_close(average.get_buffer(name), wanted)
    assert sum(name.startswith("0.") for name in before) == 6
    assert any(name.endswith("_u") for name in before)
    assert not average.training
    assert not any(p.requires_grad for p in average.parameters())


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_one_operation_averages_all_tensors_with_the_bits_of_one_by_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(5, 5, 3), nn.BatchNorm2d(5)) for _ in range(4)))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = EMA(half_life=1000)
    average = ema.start(network)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) * 100)
    share = 1 - 0.5 ** (64 / 1000)
    expected = {}
    for name, own in average.state_dict().items():
        theirs = network.state_dict()[name]
        expected[name] = own.lerp(theirs, share) if own.is_floating_point() else theirs
    with Counted() as counted:
        ema.update(average, network, seen=10**6, batch_size=64)
    assert counted.counts == {"_foreach_lerp_": 1, "copy_": 4}, "4 counters of batches"
    assert all(torch.equal(tensor, expected[name]) for name, tensor in average.state_dict().items())


def test_latents() -> None:
    rng = torch.Generator().manual_seed(0)
    normal, uniform = Normal(50)(20_000, rng), Uniform(50)(20_000, rng)
    assert normal.shape == uniform.shape == (20_000, 50)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=5e-3)
    assert (uniform.mean().item(), uniform.std().item()) == pytest.approx((0, 3**-0.5), abs=5e-3)
    assert -1 <= uniform.min() < uniform.max() < 1


def test_seeds_are_stable_and_differ() -> None:
    seeds = {derive_seed(s, "step", r, t) for s in range(5) for r in range(5) for t in range(100)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "step", 0, 0) == 2479051276930749941


def test_recomputed_statistics_are_those_of_the_data() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    network[0].running_mean.fill_(7.0)
    batches = torch.randn(5, 40, 3) * torch.tensor([1.0, 2.0, 3.0]) + 4
    left = iter(batches)
    recompute_statistics(network, lambda: network(next(left)), 5)
    torch.testing.assert_close(network[0].running_mean, batches.flatten(0, 1).mean(0))
    torch.testing.assert_close(network[0].running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert network[0].momentum == 0.1
    assert not any(part.training for part in network.modules())


def test_a_runs_statistics_follow_from_its_averaged_weights(tmp_path: Path) -> None:
    changes = {"generator": "DCGANGenerator(width=4)", "discriminator": "DCGANDiscriminator(width=4)", "batch_size": 16}
    run = train("digits", out=tmp_path / "run", steps=12, device="cpu", doctor="off", **changes)
    found = load(run, device="cpu").network
    weights = {name: weight.clone() for name, weight in found.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in found.named_buffers()}
    recipe = Run.open(run).read_recipe()
    data = training_data(recipe)
    state = start_state(recipe, data, torch.device("cpu"))
    assert state.average is not None
    state.average.load_state_dict(weights, strict=False)
    state.renew_statistics(data, recipe.seed)
    for name, buffer in state.average.named_buffers():
        torch.testing.assert_close(buffer, statistics[name])
