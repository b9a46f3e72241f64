"""What the workers of a run agree on: equal conditions at the start, one decision after each step, equal states."""

from __future__ import annotations

import hashlib
import platform
from typing import NamedTuple

import torch

from sparring.assemble.state import State
from sparring.base.errors import UserError, WorkerError
from sparring.base.process import MISTAKE
from sparring.base.version import __version__
from sparring.base.workers import EndedTogether, workers
from sparring.data.samples import Data
from sparring.recipe import Recipe

FIX = "all must have the same programs, data and arguments"


class Due(NamedTuple):
    """What is due after a step; the same for all workers.

    Attributes:
        share: the share of the budget spent, on the first worker.
        logging: a log row.
        evaluating: an evaluation, with a checkpoint.
        saving: a checkpoint.
        stopping: training ends after this step.
    """

    share: float
    logging: bool
    evaluating: bool
    saving: bool
    stopping: bool


def check_equal_conditions(recipe: Recipe, data: Data) -> None:
    """Compare what the workers are about to do.

    Raises:
        UserError: versions, data, seeds or another field of the recipe differ; the message names the workers.
    """
    if not workers().several:
        return
    facts = {"sparring": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    facts |= {"data": f"{data.name} with hash {data.digest}"}
    facts |= {f"recipe field {name}": repr(value) for name, value in vars(recipe).items()}
    different = workers().differences(facts, patient=True)  # one may still load its data
    if different and workers().first:
        raise UserError(f"the workers differ: {different}; {FIX}")
    if different:
        raise EndedTogether(MISTAKE)


def check_equal_states(state: State) -> None:
    """Compare the workers' states, which all computed for themselves.

    Raises:
        WorkerError: they differ; the message names the parts and the workers.
    """
    if not workers().several:
        return
    parts: dict[str, hashlib.blake2b] = {}
    for name, tensor in sorted(state.tensors().items(), key=lambda item: item[0]):
        part = parts.setdefault(name.partition("/")[0], hashlib.blake2b(digest_size=4))
        part.update(name.encode())
        part.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    different = workers().differences({part: digest.hexdigest() for part, digest in parts.items()})
    if different:
        cause = "a component of your own may draw random numbers, or read a file or the time, for itself"
        raise WorkerError(f"step {state.step}: the states of the workers differ ({different}); {cause}")
