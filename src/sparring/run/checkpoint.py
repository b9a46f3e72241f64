"""Checkpoints: one safetensors file of tensors and one JSON file that vouches for it.

The tensors are written first, under a temporary name, flushed to the disk and renamed; then the manifest, likewise. A
checkpoint exists if its manifest does, so a process killed at any moment leaves only whole ones. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.files import write_atomically


@dataclass(frozen=True)
class Manifest:
    """What is known of a checkpoint besides its tensors.

    The score decides which checkpoint is best, lower is better: the evaluations' first value, negative if high is good,
    or the sliced Wasserstein distance of samples to the data where there are no evaluations; None: not scored.
    """

    step: int  # steps taken
    seconds: float  # of training until then
    position: int  # samples drawn from the data, in the sampler's endless order
    score: float | None
    sha256: str  # of the safetensors file
    score_name: str = "sliced_wasserstein"  # scores of another name are not compared

    def plausible(self) -> bool:
        """All values have the right type."""
        whole, texts = (self.step, self.position), (self.sha256, self.score_name)
        numbers = (*whole, self.seconds, 0.0 if self.score is None else self.score)
        kinds = ((whole, int), (numbers, (int, float)), (texts, str))
        return all(isinstance(value, kind) for values, kind in kinds for value in values)


def stem(step: int) -> str:
    """The name of a step's files, without their ending."""
    return f"step-{step:09d}"


def save(folder: Path, tensors: Mapping[str, Tensor], manifest: dict[str, Any], fix: str) -> Manifest:
    """Write a checkpoint; return its manifest, with the checksum."""
    content = save_tensors({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    full = Manifest(**manifest, sha256=hashlib.sha256(content).hexdigest())
    write_atomically(folder / f"{stem(full.step)}.safetensors", content, fix)
    write_atomically(folder / f"{stem(full.step)}.json", f"{json.dumps(asdict(full), indent=1)}\n".encode(), fix)
    return full


def manifests(folder: Path) -> list[Manifest]:
    """All checkpoints of a folder, the earliest first; UserError: a manifest is damaged."""
    found = []
    for path in sorted(folder.glob("step-*.json")):
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
            if not manifest.plausible() or stem(manifest.step) != path.stem:
                raise ValueError("it holds other values than a checkpoint's")
            found.append(manifest)
        except FileNotFoundError:
            continue  # a trainer at work removed it just now
        except (ValueError, TypeError, OSError) as error:
            raise UserError(
                f"the checkpoint {path} is damaged ({error}); remove it, to go on from the one before"
            ) from error
    return found


def load(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """Read a checkpoint's tensors and prove that they are those that were written."""
    path = folder / f"{stem(manifest.step)}.safetensors"
    before = f"remove {path.with_suffix('.json')}, to go on from the one before"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the checkpoint {path} cannot be read ({error.strerror}); {before}") from error
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise UserError(f"the checkpoint {path} is damaged: its checksum is not the one that was written; {before}")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise UserError(f"the checkpoint {path} is not a safetensors file ({error}); {before}") from error


def remove(folder: Path, manifest: Manifest) -> None:
    """Remove a checkpoint, the manifest first."""
    for ending in ("json", "safetensors"):
        (folder / f"{stem(manifest.step)}.{ending}").unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as `kind/index/name` -> tensor."""
    kind, state = type(optimizer).__name__, optimizer.state_dict()["state"]
    return {f"{kind}/{i}/{n}": v for i, values in state.items() for n, v in values.items() if isinstance(v, Tensor)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put back what `optimizer_tensors` gave, or say that it belongs to another recipe."""
    kind = type(optimizer).__name__
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        saved, index, name = key.split("/")
        if saved != kind:
            raise UserError(
                f"the checkpoint does not fit the recipe: {what} was {saved}, the recipe says {kind}; put back the "
                "recipe.toml that the run began with"
            )
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # a file holds contiguous tensors; fused kernels walk a weight and its moments in the same memory layout
                values[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix/`, without it."""
    return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}


def restore_network(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load a network's state, or say that it belongs to another recipe."""
    expected = {n: tuple(t.shape) for n, t in network.state_dict().items()}
    found = {n: tuple(t.shape) for n, t in tensors.items()}
    wrong = [n for n in sorted(expected | found) if expected.get(n) != found.get(n)]
    if wrong:
        name = wrong[0]
        raise UserError(
            f"the checkpoint does not fit the recipe: {what}'s '{name}' is {found.get(name, 'missing')}, the recipe "
            f"wants {expected.get(name, 'none')}; put back the recipe.toml that the run began with"
        )
    network.load_state_dict(dict(tensors))
