"""A simulated accelerator: a device whose tensors hold values, and which records where the host waits for it.

Each operation on its tensors is computed on the CPU, with the CPU's random numbers, so results equal those of a CPU bit
by bit. As on CUDA, an operation may not mix devices, except for CPU scalars in pointwise operations. Recorded are

- values and tensors that the host reads (`.item()`, `bool()`, `.cpu()`), and shapes that depend on values (`nonzero`)
- copies to the device, other than those of `sparring.base.device.sent`, which does not wait on CUDA

As a program, it registers the device, which changes torch for the whole process, and prints what happens there as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import sparring
from sparring.assemble.build import training_data
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.device import prepared, sent
from sparring.base.errors import NotFiniteError
from sparring.data.samples import Data, image_data
from sparring.game import optimizers
from sparring.game.losses import NonSaturating
from sparring.game.turns import differentiable_update
from sparring.recipe import Recipe, load_recipe, recipe_names
from sparring.run.checkpoint import Manifest
from sparring.training import feed
from sparring.training.step import Stepper
from sparring.training.step_metrics import turn_metrics

NAME = "simulated"
PACKAGE = Path(sparring.__file__).parent
BATCH = 4
SHAPES = {"mnist": (1, 28, 28), "stacked-mnist": (3, 28, 28), "small-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
SHAPES |= {"photos": (3, 32, 32)}
aten = torch.ops.aten
BY_VALUE = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount}
BY_VALUE |= {aten.equal, aten.is_nonzero}
INDEXING = {aten.index, aten.index_put, aten.index_put_}
OWN = {
    "__torch_dispatch__",
    "dispatch",
    "check_indices",
    "record",
    "record_copy",
    "site",
    "tolist",
}  # not places in the code
Event = tuple[str, str]  # what happened, and the place in the code


def available() -> bool:
    """This version of torch can register a device from Python."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


class OnDevice(Tensor):
    """A tensor of the device; `held` has its values, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made: OnDevice = Tensor._make_wrapper_subclass(cls, held.shape, device=torch.device(NAME, 0), **layout)  # type: ignore[attr-defined]
        made.held = held
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], meta: None, size: object, stride: object) -> OnDevice:
        return OnDevice(inner["held"])

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """While active, tensors can be created on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


events: list[Event] = []
travelled: set[str] = set()  # types of the images that were sent to the device


def dispatch(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Compute an operation on the CPU, record waiting, and put the result on its device."""
    leaves = [
        part for leaf in (*args, *kwargs.values()) for part in (leaf if isinstance(leaf, (list, tuple)) else [leaf])
    ]
    given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    others = [tensor for tensor in given if not isinstance(tensor, OnDevice)]
    wanted = kwargs.get("device")
    wanted = None if wanted is None else torch.device(wanted).type
    if len(others) == len(given) and wanted != NAME:
        return func(*args, **kwargs)
    packet = func.overloadpacket
    copies = packet in (aten.copy_, aten._to_copy)
    to_cpu = wanted == "cpu" or (packet is aten.copy_ and not isinstance(args[0], OnDevice))
    if copies and (to_cpu or others):
        record_copy(given[-1], to_cpu)
    elif packet in INDEXING:
        check_indices([index for index in args[1] if index is not None])
    elif packet is aten._local_scalar_dense:
        record("read")
    elif packet in BY_VALUE or (packet is aten.repeat_interleave and kwargs.get("output_size") is None):
        record("shape by value")
    elif any(tensor.dim() or torch.Tag.pointwise not in func.tags for tensor in others):
        raise RuntimeError(f"{func} mixes devices in {site()}")
    result = func(*map(held_of, args), **{name: held_of(leaf) for name, leaf in kwargs.items()})
    if to_cpu:
        return args[0] if packet is aten.copy_ else result
    if result is None or (packet.__name__.startswith("_foreach") and packet.__name__.endswith("_")):
        return None
    result = on_device(result)
    return return_and_correct_aliasing(func, args, kwargs, result) if aliases(func) else result


@cache
def aliases(func: Any) -> bool:
    """The operation returns one of its tensors, or a view of it."""
    return any(argument.alias_info is not None for argument in func._schema.arguments)


def check_indices(indices: Sequence[Tensor]) -> None:
    """Record indices whose number depends on values, and those that must be copied to the device."""
    if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
        record("shape by value")
    if any(not isinstance(index, OnDevice) for index in indices):
        record("copy to the device")


def held_of(leaf: Any) -> Any:
    """An argument as the CPU needs it."""
    if isinstance(leaf, (list, tuple)):
        return type(leaf)(map(held_of, leaf))
    if isinstance(leaf, OnDevice):
        return leaf.held
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def on_device(leaf: Any) -> Any:
    """A result with its tensors on the device."""
    if isinstance(leaf, (list, tuple)):
        return type(leaf)(map(on_device, leaf))
    return OnDevice(leaf) if isinstance(leaf, Tensor) else leaf


def record_copy(tensor: Tensor, to_cpu: bool) -> None:
    """Record a copy of a tensor from or to the CPU."""
    if not to_cpu and site() == "base/device.py:sent":
        travelled.update({str(tensor.dtype)} if tensor.dim() == 4 else ())
    else:
        record("read" if to_cpu else "copy to the device")


def record(what: str) -> None:
    events.append((what, site()))


def site() -> str:
    """The innermost function outside torch and this file's own, as `package/file.py:function`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file, function = place(frame.f_code.co_filename), frame.f_code.co_name
        if file and not (file == "accelerator.py" and function in OWN):
            return f"{file}:{function}"
        frame = frame.f_back
    return "backward pass"


@cache
def place(file: str) -> str:
    """A file's path within the package or its name; "" for torch's files."""
    path = Path(file)
    if "torch" in path.parts:
        return ""
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else path.name


@contextmanager
def recorded() -> Iterator[list[Event]]:
    """A context that yields the events within it."""
    events.clear()
    travelled.clear()
    found: list[Event] = []
    yield found
    found += events


def recipe_of(name: str, **changes: object) -> tuple[Recipe, Data]:
    """A recipe with tiny batches, and its data; sets that need a download are replaced by noise of the same form."""
    recipe = load_recipe(name).replace(batch_size=BATCH, precision="fp32", **changes)
    if recipe.data not in SHAPES:
        data = training_data(recipe)
    else:
        count = 600 if recipe.data == "small-mnist" else 5000  # fewer images get ADA
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(256, (count, *SHAPES[recipe.data]), generator=rng, dtype=torch.uint8)
        data = image_data(recipe.data, images, torch.arange(count) % 10, tuple("0123456789"))
    return resolve_auto(recipe, data, torch.device("cpu")), data


class Trained:
    """Some steps of a recipe on a device.

    Args:
        steps: progress of each step.
        start: tensors of a checkpoint to begin with.
        taken: steps that the checkpoint's run has taken.

    Attributes:
        restored: memory of all components after the checkpoint was restored.
        in_steps: events of the steps.
        in_row: events of the log row after them.
        images: types of the images that were sent to the device in the steps.
        route: how samples got to the device.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        device: str,
        steps: Sequence[float],
        start: Mapping[str, Tensor] | None = None,
        taken: int = 0,
    ) -> None:
        here = torch.device(device)
        with prepared(here):
            self.state = start_state(recipe, data, here)
            if start is not None:
                position = taken * BATCH * (2 if "Alternating" in recipe.turns else 1)
                self.state.restore(Manifest(taken, 0.0, position, None, ""), dict(start))
            self.restored = {n: t for part in self.state.game.stateful.values() for n, t in part.memory.items()}
            stepper = Stepper(recipe, data, self.state)
            with closing(stepper), recorded() as self.in_steps:
                for progress in steps:
                    turns = stepper(progress)
            self.images, self.route = sorted(travelled), stepper.feed.route
            with recorded() as self.in_row:
                self.row = turn_metrics(self.state.game, turns)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in self.state.tensors().items()}


def difference(ours: Trained, theirs: Trained) -> float:
    """Largest relative difference of the log rows. Rounding differs: autograd adds up in another order on a device."""
    assert ours.row.keys() == theirs.row.keys()
    pairs = [(ours.row[name], theirs.row[name]) for name in ours.row]
    return max(abs(a - b) / max(abs(a), abs(b), 1e-3) for a, b in pairs)


SMALL: dict[str, object] = {"generator": "UNetGenerator(width=4)", "discriminator": "PatchDiscriminator(width=8)"}
CASES: dict[str, tuple[str, dict[str, object], int]] = {
    "adaptive": ("small-data", {"augment": "ADA(start=0.3, images=200, every=2)"}, 4),
    "adaptive, in colour": ("stacked-mnist", {"augment": "ADA(start=0.3, images=200, every=1)"}, 2),
    "adaptive, at 0": ("small-data", {"augment": "ADA(target=1.0, every=1)"}, 2),
    "adaptive, first window": ("small-data", {"augment": "ADA(every=50)"}, 2),
    "clipped parts": ("digits", {"clip_gradients": 0.5, "micro_batches": 2}, 2),
    "consistent": ("mnist", {"augment": "DiffAugment()", "penalties": "Consistency(), FeatureMatching()"}, 1),
    "classified": (
        "mnist-conditional",
        {
            "generator": "MLPGenerator(hidden=(16,))",
            "discriminator": "MLPDiscriminator(hidden=(16,), condition='classifier')",
            "penalties": "AuxiliaryClassifier()",
        },
        1,
    ),
    "without an adversary": ("segment", {}, 1),
    "few": ("digits", {"loss": "TopK(share=0.5)", "penalties": "Dragan(), Orthogonal()"}, 2),
    "history": ("cyclegan", {"task": "Cycle(history=6)", **SMALL}, 3),
    "moving averages": ("digits", {"penalties": "LeCam()", "augment": "InstanceNoise()"}, 3),
}


RESTORED = ("adaptive", "adaptive, first window", "history", "moving averages")


def steps_of(job: str) -> dict[str, object]:
    """The steps of a case from its start, or a step of a recipe near its end, on the device and on a CPU."""
    name, changes, count = CASES.get(job, (job, {}, 1))
    recipe, data = recipe_of(name, **changes)
    progress = [0.0] * count if job in CASES else [0.9]  # near the end, all terms are active
    cpu = Trained(recipe, data, "cpu", progress)
    with Accelerator():
        ours = Trained(recipe, data, NAME, progress)
        found = {"steps": ours.in_steps, "row": ours.in_row, "images": ours.images, "route": ours.route}
        return {**found, "difference": difference(ours, cpu)}


AHEAD = ("mnist-conditional", "pix2pix", "history", "inpaint")


def ahead(job: str) -> dict[str, object]:
    """Steps without room for the samples on the device, and the bits that differ from those of steps with room."""
    name, changes, _ = CASES.get(job, (job, {}, 0))
    recipe, data = recipe_of(name, **changes, mirror=True)
    with Accelerator():
        resident = Trained(recipe, data, NAME, [0.5] * 3)
        room, feed.ROOM = feed.ROOM, 0
        try:
            ours = Trained(recipe, data, NAME, [0.5] * 3)
        finally:
            feed.ROOM = room
        differing = [name for name, tensor in resident.tensors.items() if not torch.equal(tensor, ours.tensors[name])]
    return {"differing": differing, "steps": ours.in_steps, "images": ours.images, "route": ours.route}


def restored(job: str) -> dict[str, object]:
    """The bits that differ if a case is continued from a checkpoint, and where its memory then is."""
    name, changes, count = CASES[job]
    recipe, data = recipe_of(name, **changes)
    with Accelerator():
        saved = Trained(recipe, data, NAME, [0.5] * (count - 1)).tensors
        later = Trained(recipe, data, NAME, [0.5], saved, count - 1)
        whole = Trained(recipe, data, NAME, [0.5] * count)
        ours, theirs = later.tensors, whole.tensors
        differing = [name for name, tensor in theirs.items() if not torch.equal(tensor, ours[name])]
        places = {n: t.device.type for n, t in later.restored.items()}
    return {"differing": differing, "row": later.row == whole.row, "memory": places}


def failing(step: int) -> dict[str, object]:
    """What is reported for a weight that becomes NaN before a step, read two steps later."""
    recipe, data = recipe_of("digits")
    with Accelerator(), prepared(torch.device(NAME)):
        state = start_state(recipe, data, torch.device(NAME))
        stepper = Stepper(recipe, data, state)
        with recorded() as found:
            for now in range(step + 3):
                if now == step:
                    state.game.discriminator.network.get_parameter("logit.weight").data[0, 3] = float("nan")
                stepper(0.0)
        try:
            state.game.checks.read()
        except NotFiniteError as error:
            return {"steps": found, "message": str(error)}
    return {"steps": found, "message": ""}


def wrong(what: str) -> dict[str, object]:
    """A step with a loss that reads a value, copies one to the device, or mixes devices."""
    recipe, data = recipe_of("digits")
    correct = NonSaturating.generator

    def loss(self: NonSaturating, real: Tensor | None, fake: Tensor) -> Tensor:
        value = correct(self, real, fake)
        if what == "read":
            return value * value.detach().mean().item()
        if what == "shape by value":
            return value[value > -100]
        return value * (
            torch.ones(len(value)).to(value.device) if what == "copy to the device" else torch.ones(len(value))
        )

    NonSaturating.generator = loss  # type: ignore[method-assign]
    try:
        with Accelerator():
            return {"steps": Trained(recipe, data, NAME, [0.0]).in_steps, "error": ""}
    except RuntimeError as error:
        return {"steps": [], "error": str(error)}
    finally:
        NonSaturating.generator = correct  # type: ignore[method-assign]


def unrolled() -> dict[str, object]:
    """Weights of D after two differentiable updates, and events, if Adam counts its steps on the device."""
    found = {}
    for device in ("cpu", NAME):
        torch.manual_seed(0)
        with Accelerator():
            network = torch.nn.Linear(3, 2).to(device)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.1, betas=(0.0, 0.99))
            for weight in network.parameters():
                weight.grad = torch.ones_like(weight)
            optimizer.step()
            for state in optimizer.state.values():
                state["step"] = sent(state["step"], weight.device)
            weights = dict(network.named_parameters())
            with recorded() as steps:
                update = differentiable_update(optimizer, network)
                for _ in range(2):
                    weights = update(weights, {name: 0.5 * tensor for name, tensor in weights.items()})
        found[device] = {"weight": weights["weight"].detach().cpu().flatten().tolist(), "steps": steps}
    return found


class Module:
    """What torch asks of a device's module."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def main() -> None:
    """Print the results of all jobs as JSON, by kind and name."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    optimizers.has_fused = lambda *_: False  # the fused kernels of the CPU round differently from those of the device
    results: dict[str, object] = {job: steps_of(job) for job in (*recipe_names(), *CASES)}
    results["ahead"] = {job: ahead(job) for job in AHEAD}
    results["restored"] = {job: restored(job) for job in RESTORED}
    results["wrong"] = {what: wrong(what) for what in ("read", "shape by value", "copy to the device", "mixed")}
    results |= {"failing": failing(step=2), "unrolled": unrolled()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
