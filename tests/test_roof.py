"""The count of operations and the tables of benchmarks/roof.py; no measured time is asserted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent.parent))
    patch.setenv("SPARRING_DATA", os.environ.get("SPARRING_DATA", ""))  # the import sets it otherwise
    from benchmarks import roof

TINY = "digits:generator=MLPGenerator(hidden=(8,));discriminator=MLPDiscriminator(hidden=(8,));batch_size=4"
CONVOLUTIONS = [  # channels, filters, groups, side of the kernel, stride, transposed, sides of maps before and after
    (6, 10, 1, 3, 1, False, 8, 8),
    (6, 10, 2, 3, 1, False, 8, 8),
    (6, 6, 6, 3, 1, False, 8, 8),
    (6, 10, 1, 4, 2, False, 8, 4),
    (6, 10, 2, 4, 2, False, 8, 4),
    (6, 10, 1, 4, 2, True, 4, 8),
    (6, 10, 2, 4, 2, True, 4, 8),
]
BATCH = 3


def counted(work: Callable[[], object]) -> int:
    count = roof.Work()
    with count:
        work()
    return count.flop.total()


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "kernel", "stride", "transposed", "side", "to"), CONVOLUTIONS
)
def test_the_count_of_a_convolution_and_its_gradients_is_the_closed_form(
    channels: int, filters: int, groups: int, kernel: int, stride: int, transposed: bool, side: int, to: int
) -> None:
    shape = (channels, filters // groups) if transposed else (filters, channels // groups)
    weight = torch.randn(*shape, kernel, kernel, requires_grad=True)
    maps = torch.randn(BATCH, channels, side, side, requires_grad=True)

    def convolve(maps: Tensor) -> Tensor:
        convolution = F.conv_transpose2d if transposed else F.conv2d
        return convolution(maps, weight, stride=stride, padding=1, groups=groups)

    def penalty() -> None:
        (slope,) = torch.autograd.grad(convolve(maps).square().sum(), maps, create_graph=True)
        slope.square().sum().backward(inputs=[weight])

    # each weight is multiplied once for each sample and position, of the smaller maps where the kernel has a stride
    products = BATCH * weight.numel() * min(side, to) ** 2
    out = convolve(maps)
    assert out.shape == (BATCH, filters, to, to)
    assert counted(lambda: convolve(maps)) == 2 * products
    for wanted in ([maps], [weight], [maps, weight]):
        assert counted(lambda: torch.autograd.grad(out.sum(), wanted, retain_graph=True)) == len(wanted) * 2 * products  # noqa: B023
    # forward; the slope; its gradients with respect to the logits and to the weight; from the logits to the weight
    assert counted(penalty) == 5 * 2 * products


def test_the_count_of_linear_layers_is_the_closed_form() -> None:
    layer, samples = torch.nn.Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    products = 2 * 3 * 5 * 7
    assert counted(lambda: layer(samples).sum().backward()) == 3 * products
    assert counted(lambda: torch.mv(torch.randn(5, 7), torch.randn(7))) == 2 * 5 * 7


def test_products_are_counted_by_precision() -> None:
    work = roof.Work()
    one = torch.randn(4, 4)
    with work:
        one @ one
        one.bfloat16() @ one.bfloat16()
        one.double() @ one.double()
    assert work.flop == {"fp32": 2 * 128, "bf16": 128}


@pytest.mark.parametrize(
    ("operator", "calls", "tensors"),
    [
        (lambda a, b: a + b, 1, 3),
        (lambda a, b: a.add_(b), 1, 3),
        (lambda a, b: a.t(), 1, 0),
        (lambda a, b: torch.empty_like(a), 1, 0),
        (lambda a, b: torch._foreach_lerp_([a, a], [b, b], 0.5), 1, 6),
    ],
)
def test_bytes_that_operators_read_and_write(operator: Callable[..., object], calls: int, tensors: int) -> None:
    work, one, two = roof.Work(), torch.ones(6, 7), torch.ones(6, 7)
    with work:
        operator(one, two)
    assert (work.calls, work.moved) == (calls, tensors * 4 * 42)


def test_the_share_of_the_roof_is_the_time_that_products_would_take_there() -> None:
    flop = {"fp32": 1e9, "bf16": 4e9}
    measured = roof.Measured("bf16", 8, 0.5, flop, 1, 1, {}, {}, 0.0)
    assert measured.share(roof.Limits({"fp32": 10, "bf16": 80}, 1)) == pytest.approx((0.1 + 0.05) / 0.5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::convolution_backward", "convolutions, backward"),
        ("aten::mkldnn_convolution", "convolutions, forward"),
        ("aten::addmm", "matrix products"),
        ("aten::_fused_adam_", "optimiser"),
        ("Optimizer.step#Adam.step", "optimiser"),
        ("aten::_foreach_lerp_", "EMA"),
        ("aten::native_batch_norm_backward", "batch normalisation"),
        ("aten::to", "copies and casts"),
        ("aten::t", "views and allocation"),
        ("aten::tanh", "elementwise and sums"),
        ("autograd::engine::evaluate_function: TanhBackward0", "autograd"),
    ],
)
def test_kinds_of_operators(name: str, kind: str) -> None:
    shares = roof.shares_of_kinds({name: (0.25, 1.0)})
    assert (shares[kind], shares[roof.PYTHON]) == (0.25, 0.75)


def test_the_tables_of_a_small_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(roof, "SECONDS", 0.001)
    missing = "digits:data=no-such-folder/"
    steppers = roof.start_all([TINY, missing])
    assert capsys.readouterr().out.startswith(f"{missing} is left out: ")
    assert list(steppers) == [TINY]
    assert roof.period_of(steppers[TINY]) == 4  # R1(every=4)

    found = roof.measure(steppers, blocks=1)
    limits = roof.measure_limits(1, sides=(16,), large=1 << 10)
    lines = list(roof.tables(found, limits, top=3))
    tables = [lines[: lines.index("")], lines[lines.index("") + 1 :]]
    for table in tables:
        assert len(table) == 3
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1
        assert table[2].startswith(f"| `{TINY}` | ")
    each = found[TINY]
    assert sum(each.kinds.values()) == pytest.approx(1)
    assert {"matrix products", "optimiser", "EMA", roof.PYTHON} <= {kind for kind, share in each.kinds.items() if share}
    assert each.operators["aten::_fused_adam_"][1] == 2  # both players, in each step
    assert 0 < each.batch_share < 1


def test_the_count_of_a_step_is_the_mean_over_a_period() -> None:
    text = f"{TINY};penalties=;precision=fp32"
    stepper = roof.start_all([text])[text]
    generator, discriminator = 32 * 8 + 8 * 64, 64 * 8 + 8 * 1
    forward = generator + 2 * discriminator  # D judges reals and fakes
    weights = generator + 2 * discriminator
    # to hidden layers, and through D to G's output: D's own gradients do not need those of its input
    samples = 8 * 64 + 2 * 8 * 1 + discriminator
    assert roof.count_work(stepper).flop == {"fp32": 2 * 4 * (forward + weights + samples)}
    lazy = f"{TINY};penalties=R1(every=4);precision=fp32"
    with_penalty = roof.count_work(roof.start_all([lazy])[lazy])
    assert (
        4 * 2 * 4 * (forward + weights + samples)
        < with_penalty.flop["fp32"]
        < 5 * 2 * 4 * (forward + weights + samples)
    )
