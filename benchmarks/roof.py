"""How near to the processor's limit recipes train, and what is in the way.

python -m benchmarks.roof [RECIPE[:KEY=VALUE;...] ...] [--threads 1] [--json FILE]

The limit, the roof, is the rate of the fastest large matrix products in fp32 and in bf16. It is measured before and
after the recipes, and the higher median counts. Steps of all recipes are timed in alternating blocks of whole periods:
a period is the least common multiple of the intervals of lazy penalties. A recipe's share of the roof is the time that
its products and convolutions would take at the roof, relative to the time of its steps. Operators are timed in further
steps by torch's profiler, which slows small ones.

A version of a recipe is written as in `benchmarks.equal_time`, such as `lecture:precision=bf16`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from benchmarks.equal_time import CPU, parse_version, start_stepper
from benchmarks.setting import describe_machine
from sparring.base.device import prepared, thread_count
from sparring.base.errors import UserError
from sparring.training.step import Stepper

RECIPES = ("lecture", "digits", "mnist", "small-data", "sngan-cifar10", "r3gan-cifar10", "pix2pix")
SIDES = (512, 1024, 2048)  # of the square matrices whose product is the roof: within one core's cache, and beyond it
LARGE = 1 << 26  # floats of an array beyond all caches: 256 MiB
SECONDS = 0.5  # of a block of products or steps
WARM_UP = 2  # periods
PROGRESS = 0.2  # share of the budget at which steps are timed
PRECISIONS = {torch.bfloat16: "bf16"}  # others are fp32; the few products in fp64 count there, too
BATCH, PYTHON = "batch", "Python"
KINDS = {
    "convolutions, backward": r"aten::_?(convolution|mkldnn_convolution)\w*_backward",
    "convolutions, forward": r"aten::(_?conv|mkldnn_conv|_?slow_conv)",
    "matrix products": r"aten::(mm|bmm|mv|dot|vdot|ger|addmm|addmv|baddbmm|linear|matmul)",
    "batch normalisation": r"aten::\w*(batch|instance)_norm",
    "resampling": r"aten::(\w*pool|upsample|grid_sampler)",
    "optimiser": r"aten::_fused_|Optimizer",
    "EMA": r"aten::(_foreach_)?lerp_",
    "copies and casts": r"aten::(copy_|_to_copy|to$|clone|contiguous|cat|stack|index)",
    "views and allocation": r"aten::(empty|new_empty|resize|as_strided|\w*view|\w*reshape|t$|transpose|permute|expand|"
    r"detach|slice|select|narrow|squeeze|unsqueeze|alias|flatten|unflatten|resolve|result_type|promote_types)|detach",
    "autograd": r"autograd::|torch::autograd|\w+Backward\d",
    "elementwise and sums": "",  # all other operators
}
"""Kinds of operators, by a pattern of their names; the first that matches counts."""


def count_convolution_backward(
    gradient: Sequence[int],
    samples: Sequence[int],
    weight: Sequence[int],
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: int,
    wanted: Sequence[bool],
    out_shape: object,
) -> int:
    """Operations of a convolution's gradients, from shapes: each takes as many as the forward pass.

    Torch's own formula (2.13 and before) counts the weight's gradient `groups` times.
    """
    return sum(wanted[:2]) * int(conv_flop_count(list(samples), list(weight), list(gradient), transposed))


def count_mv(matrix: Sequence[int], vector: Sequence[int], out_shape: object) -> int:
    """Operations of the product of a matrix and a vector, which torch does not count."""
    return 2 * math.prod(matrix)


aten = torch.ops.aten
FORMULAS: Mapping[Any, Callable[..., int]] = FlopCounterMode(
    display=False, custom_mapping={aten.convolution_backward: count_convolution_backward, aten.mv: count_mv}
).flop_registry
"""Operator -> its number of floating-point operations: torch's formulas and those above."""


class Work(TorchDispatchMode):
    """Counts the work of all operators within the context.

    Torch's `FlopCounterMode` cannot be used: it follows modules by hooks that fail in gradient penalties.

    Attributes:
        flop: floating-point operations of products and convolutions, by precision.
        calls: calls of operators, views included.
        moved: bytes that operators read and write, as if none were in a cache.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop: Counter[str] = Counter()
        self.calls, self.moved = 0, 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace != "aten":
            return out
        self.calls += 1
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.flop[PRECISIONS.get(args[0].dtype, "fp32")] += formula(*args, **kwargs, out_val=out)
        if not func.is_view and not func.__name__.startswith(("empty", "new_empty", "detach")):
            self.moved += size_of((args, kwargs)) + size_of(written(func, args, out))
        return out


def written(func: Any, args: Sequence[object], out: object) -> object:
    """What an operator writes: its results or, if it has none, the arguments that it changes."""
    if func._schema.returns:
        return out
    return [each for each, spec in zip(args, func._schema.arguments) if spec.alias_info and spec.alias_info.is_write]


def size_of(tree: object) -> int:
    """Bytes of all tensors in nested lists and dictionaries."""
    return sum(each.numel() * each.element_size() for each in tree_leaves(tree) if isinstance(each, Tensor))


@dataclass(frozen=True)
class Limits:
    """What the processor achieves.

    Attributes:
        products: GFLOP/s of large matrix products, by precision.
        memory: GB/s of reading two arrays beyond the caches and writing a third.
    """

    products: dict[str, float]
    memory: float


def median_seconds(work: Callable[[], object], blocks: int) -> float:
    """Median seconds of a call over blocks of calls."""
    start = time.perf_counter()
    work()
    calls = math.ceil(SECONDS / max(time.perf_counter() - start, 1e-6))
    times = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def measure_limits(blocks: int, sides: Sequence[int] = SIDES, large: int = LARGE) -> Limits:
    """Measure the limits, with the present number of threads."""
    products = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = []
        for side in sides:
            left, right = torch.randn(2, side, side).to(dtype)
            product = torch.empty_like(left)
            seconds = median_seconds(lambda: torch.mm(left, right, out=product), blocks)  # noqa: B023
            rates.append(2 * side**3 / seconds / 1e9)
        products[name] = max(rates)
    one, two, total = torch.ones(3, large)
    seconds = median_seconds(lambda: torch.add(one, two, alpha=2.0, out=total), blocks)
    return Limits(products, 3 * 4 * large / seconds / 1e9)


def higher(first: Limits, last: Limits) -> Limits:
    """The higher value of each limit."""
    products = {name: max(first.products[name], last.products[name]) for name in first.products}
    return Limits(products, max(first.memory, last.memory))


@dataclass(frozen=True)
class Measured:
    """A recipe's steps, averaged over a period of lazy penalties.

    Attributes:
        precision: the recipe's; steps with a gradient penalty compute in fp32.
        batch: images of a step.
        seconds: of a step.
        flop: floating-point operations of a step's products and convolutions, by precision.
        calls: calls of operators in a step.
        moved: bytes that a step's operators read and write.
        kinds: share of the profiled time, by kind of operator; `Python` is the time outside of operators.
        operators: share of the profiled time and calls in a step, by operator, the longest first.
        batch_share: share of the profiled time that it takes to fetch the batch, part of the kinds above.
    """

    precision: str
    batch: int
    seconds: float
    flop: dict[str, float]
    calls: float
    moved: float
    kinds: dict[str, float]
    operators: dict[str, tuple[float, float]]
    batch_share: float

    def share(self, limits: Limits) -> float:
        """Share of the roof: the time that the products and convolutions would take there, relative to the time."""
        return sum(flop / limits.products[name] / 1e9 for name, flop in self.flop.items()) / self.seconds


def period_of(stepper: Stepper) -> int:
    """Steps after which lazy penalties repeat."""
    return math.lcm(1, *(penalty.every for penalty in stepper.state.game.penalties))


def take(stepper: Stepper, steps: int) -> float:
    """Take steps; return the seconds of one."""
    start = time.perf_counter()
    for _ in range(steps):
        stepper(PROGRESS)
    return (time.perf_counter() - start) / steps


def time_steps(steppers: Mapping[str, Stepper], blocks: int) -> dict[str, float]:
    """Seconds per step: the median over blocks of whole periods, which alternate between the recipes."""
    steps = {}
    for name, stepper in steppers.items():
        period = period_of(stepper)
        seconds = take(stepper, WARM_UP * period)
        steps[name] = period * math.ceil(SECONDS / (seconds * period))
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(blocks):
        for name, stepper in steppers.items():
            times[name].append(take(stepper, steps[name]))
    return {name: statistics.median(each) for name, each in times.items()}


def count_work(stepper: Stepper) -> Work:
    """The work of a period."""
    work = Work()
    with work:
        take(stepper, period_of(stepper))
    return work


def profile_steps(stepper: Stepper) -> tuple[dict[str, tuple[float, float]], float]:
    """Profile whole periods.

    Returns:
        Share of the time and calls in a step, by operator, the longest first; and the share of fetching the batch.
    """
    steps = period_of(stepper) * math.ceil(10 / period_of(stepper))
    fetch = stepper.next_batches

    def fetch_recorded() -> list[Any]:
        with record_function(BATCH):
            return fetch()

    stepper.next_batches = fetch_recorded  # type: ignore[method-assign]
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            whole = take(stepper, steps) * steps * 1e6
    finally:
        del stepper.next_batches
    events = {event.key: event for event in profiler.key_averages()}
    batch = events.pop(BATCH).cpu_time_total / whole
    found = {name: (event.self_cpu_time_total / whole, event.count / steps) for name, event in events.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1][0])), batch


def shares_of_kinds(operators: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Share of the time by kind of operator, the largest first; the rest is Python."""
    shares = dict.fromkeys(KINDS, 0.0)
    for name, (share, _) in operators.items():
        shares[next(kind for kind, pattern in KINDS.items() if re.match(pattern, name))] += share
    shares[PYTHON] = max(0.0, 1 - sum(shares.values()))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def measure(steppers: Mapping[str, Stepper], blocks: int) -> dict[str, Measured]:
    """Time, count and profile the steps of recipes."""
    seconds = time_steps(steppers, blocks)
    found = {}
    for name, stepper in steppers.items():
        work, period = count_work(stepper), period_of(stepper)
        operators, batch_share = profile_steps(stepper)
        found[name] = Measured(
            stepper.recipe.precision,
            stepper.recipe.batch_size,
            seconds[name],
            {precision: flop / period for precision, flop in work.flop.items()},
            work.calls / period,
            work.moved / period,
            shares_of_kinds(operators),
            operators,
            batch_share,
        )
    return found


def tables(found: Mapping[str, Measured], limits: Limits, top: int) -> Iterator[str]:
    """Lines of two tables: rates, and what takes the time."""
    yield "| recipe | precision | images/s | ms/step | GFLOP/image | GFLOP/s | of the roof | calls/step | MB/step |"
    yield "| --- | --- |" + " ---: |" * 7
    for name, each in found.items():
        flop = sum(each.flop.values()) / 1e9
        yield (
            f"| `{name}` | {each.precision} | {each.batch / each.seconds:,.0f} | {1e3 * each.seconds:.1f} | "
            f"{flop / each.batch:.4f} | {flop / each.seconds:.1f} | {each.share(limits):.0%} | {each.calls:,.0f} | "
            f"{each.moved / 1e6:,.0f} |"
        )
    yield ""
    yield f"| recipe | share of the time by kind | the {top} longest operators (calls in a step) | batch |"
    yield "| --- | --- | --- | ---: |"
    for name, each in found.items():
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in each.kinds.items() if share >= 0.02)
        longest = [(key, value) for key, value in each.operators.items() if key.startswith("aten::")][:top]
        shown = ", ".join(f"`{key[6:]}` {share:.0%} ({calls:.3g})" for key, (share, calls) in longest)
        yield f"| `{name}` | {kinds} | {shown} | {each.batch_share:.1%} |"


def start_all(texts: Sequence[str]) -> dict[str, Stepper]:
    """The training steps of recipes; those whose data is missing are named and left out."""
    steppers = {}
    for text in texts:
        name, recipe = parse_version(text)
        try:
            steppers[name] = start_stepper(recipe)
        except UserError as error:
            print(f"{name} is left out: {error}", flush=True)
    return steppers


def describe(limits: Limits) -> str:
    """The limits in words."""
    rates = ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in limits.products.items())
    return f"{rates}, memory {limits.memory:.1f} GB/s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE", help="named recipe or .toml file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=9, help="blocks of each measurement")
    parser.add_argument("--top", type=int, default=5, help="operators to name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all that was measured to a file")
    chosen = parser.parse_args()
    with prepared(CPU), thread_count(chosen.threads):
        steppers = start_all(chosen.recipes)
        first = measure_limits(chosen.blocks)
        found = measure(steppers, chosen.blocks)
        last = measure_limits(chosen.blocks)
        limits = higher(first, last)
        print(describe_machine())
        print(f"Roof before: {describe(first)}\nRoof after: {describe(last)}\n")
        print("\n".join(tables(found, limits, chosen.top)))
    if chosen.json:
        values = {name: {**asdict(each), "share": each.share(limits)} for name, each in found.items()}
        result = {"machine": describe_machine(), "before": asdict(first), "after": asdict(last), "recipes": values}
        chosen.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
