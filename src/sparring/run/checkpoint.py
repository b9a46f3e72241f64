"""Checkpoints: a safetensors file of tensors and a JSON manifest with its checksum.

Each file is written under a temporary name, flushed to the disk and renamed; the tensors first, then the manifest. A
checkpoint exists if its manifest does, so a process killed at any moment leaves only complete ones. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.files import write_atomically
from sparring.run.clock import Clock


@dataclass(frozen=True)
class Manifest:
    """The description of a checkpoint.

    Attributes:
        step: number of steps taken.
        seconds: training time in seconds.
        position: number of samples taken from the sampler.
        score: selects the best checkpoint, lower is better: the first value of an evaluation, negated where higher is
            better, or without evaluations the sliced Wasserstein distance of samples to the data; None: no score.
        sha256: checksum of the safetensors file.
        score_name: name of the score; only scores with the same name are compared.
        overheads: seconds of each overhead; see `Clock`. Empty in manifests of earlier versions.
    """

    step: int
    seconds: float
    position: int
    score: float | None
    sha256: str
    score_name: str = "sliced_wasserstein"
    overheads: Mapping[str, float] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """A clock that goes on from the times of the checkpoint."""
        return Clock(self.seconds, self.overheads)

    def plausible(self) -> bool:
        """True if all values have the right type."""
        whole, texts = (self.step, self.position), (self.sha256, self.score_name)
        if not isinstance(self.overheads, dict):
            return False
        numbers = (*whole, self.seconds, 0.0 if self.score is None else self.score, *self.overheads.values())
        kinds = ((whole, int), (numbers, (int, float)), (texts, str))
        return all(isinstance(value, kind) for values, kind in kinds for value in values)


def stem(step: int) -> str:
    """The file name of a step's checkpoint, without its suffix."""
    return f"step-{step:09d}"


def save(folder: Path, tensors: Mapping[str, Tensor], manifest: dict[str, Any], fix: str) -> Manifest:
    """Write a checkpoint; return its manifest with the checksum. UserError: a write failed; it ends with `fix`."""
    content = save_tensors({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    full = Manifest(**manifest, sha256=hashlib.sha256(content).hexdigest())
    write_atomically(folder / f"{stem(full.step)}.safetensors", content, fix)
    write_atomically(folder / f"{stem(full.step)}.json", f"{json.dumps(asdict(full), indent=1)}\n".encode(), fix)
    return full


def manifests(folder: Path) -> list[Manifest]:
    """The manifests of all checkpoints in a folder, in order of steps. UserError: a manifest is damaged."""
    found = []
    for path in sorted(folder.glob("step-*.json")):
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
            if not manifest.plausible() or stem(manifest.step) != path.stem:
                raise ValueError("its values are not those of a checkpoint")
            found.append(manifest)
        except FileNotFoundError:
            continue  # a running trainer has just removed it
        except (ValueError, TypeError, OSError) as error:
            raise UserError(
                f"the checkpoint {path} is damaged ({error}); remove it to resume from the previous one"
            ) from error
    return found


def load(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """Read and verify a checkpoint's tensors. UserError: the file is missing or damaged."""
    path = folder / f"{stem(manifest.step)}.safetensors"
    fix = f"remove {path.with_suffix('.json')} to resume from the previous one"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the checkpoint {path} cannot be read ({error.strerror}); {fix}") from error
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise UserError(f"the checkpoint {path} is damaged: its checksum differs from its manifest's; {fix}")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise UserError(f"the checkpoint {path} is not a safetensors file ({error}); {fix}") from error


def remove(folder: Path, manifest: Manifest) -> None:
    """Remove a checkpoint, the manifest first."""
    for ending in ("json", "safetensors"):
        (folder / f"{stem(manifest.step)}.{ending}").unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as a dictionary from `kind/index/name` to tensors."""
    kind, state = type(optimizer).__name__, optimizer.state_dict()["state"]
    return {f"{kind}/{i}/{n}": v for i, values in state.items() for n, v in values.items() if isinstance(v, Tensor)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load the state from `optimizer_tensors`. UserError: it belongs to another kind of optimiser."""
    kind = type(optimizer).__name__
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        saved, index, name = key.split("/")
        if saved != kind:
            raise UserError(
                f"the checkpoint does not fit the recipe: {what} is {saved} there and {kind} in the recipe; restore "
                "the run's original recipe.toml"
            )
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # files hold contiguous tensors; fused kernels need a weight and its moments in the same memory layout
                values[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix/`; the prefix is removed."""
    return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}


def restore_network(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load a network's state. UserError: names or shapes differ, so it belongs to another recipe."""
    expected = {n: tuple(t.shape) for n, t in network.state_dict().items()}
    found = {n: tuple(t.shape) for n, t in tensors.items()}
    wrong = [n for n in sorted(expected | found) if expected.get(n) != found.get(n)]
    if wrong:
        name = wrong[0]
        raise UserError(
            f"the checkpoint does not fit the recipe: {what}'s '{name}' is {found.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} in the recipe; restore the run's original recipe.toml"
        )
    network.load_state_dict(dict(tensors))
