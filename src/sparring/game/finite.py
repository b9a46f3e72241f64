"""Stop at the first NaN or infinity, and name the tensor that it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparring.base.errors import NotFiniteError
from sparring.base.workers import workers
from sparring.game.match import Batch, Moment, Side
from sparring.game.outcome import Outcome

MOST_PENDING = 4096  # deferred checks, before they are read without a log row; a few MiB of the device's memory
INPUTS_FINITE = "the term itself (its inputs are finite)"


@dataclass(frozen=True)
class _Check:
    """A deferred check: the values on the device that tell whether it fails, and why.

    Attributes:
        terms: names of the terms; () for a gradient.
        values: the terms, or the norm of the gradient.
        suspects: names of the tensors that the values come from, in order.
        largest: their largest absolute values.
    """

    step: int
    side: Side
    terms: tuple[str, ...]
    values: Tensor
    suspects: tuple[str, ...]
    largest: Tensor

    def error(self, index: int, value: float) -> NotFiniteError:
        """The error for the value at an index, which is NaN or infinite."""
        finite = self.largest.isfinite().tolist()
        first = next((name for name, good in zip(self.suspects, finite) if not good), "")
        if not self.terms:
            return _gradient_error(self.step, self.side, first)
        return _term_error(self.step, self.side, self.terms[index], value, first)


class FiniteChecks:
    """Checks of the terms and gradients of a game.

    On a CPU, a check raises at once. On an accelerator, that would stop the host until all queued work is done, so a
    check only keeps what it needs on the device, and `read` raises for the first one that failed; the error names the
    step of the failure, not that of the reading. Of several workers, none must end while the others wait for it, so
    their checks are deferred, too, and all of them read at the same steps.

    Args:
        deferred: checks do not raise; None: on accelerators, and of several workers.
    """

    def __init__(self, deferred: bool | None = None) -> None:
        self._deferred = deferred
        self._pending: list[_Check] = []  # since the last reading
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal names are stored once
        self._parameters: dict[Side, tuple[nn.Module, dict[str, Tensor]]] = {}  # by description

    def deferred(self, device: torch.device) -> bool:
        """Checks on this device do not raise before `read`."""
        return device.type != "cpu" or workers().several if self._deferred is None else self._deferred

    def check_terms(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        side: Side,
        batch: Batch,
        outcome: Outcome,
        values: Tensor,
        moment: Moment,
    ) -> None:
        """Check a player's terms; `values` holds them in order.

        Raises:
            NotFiniteError: a term is NaN or infinite, and checks are not deferred; the error names the first tensor
                that is not finite on the way from the batch to the logits.
        """
        names = tuple(outcome.terms)
        if self.deferred(values.device):
            self._keep(moment, side, names, values, self._suspects(generator, discriminator, batch, outcome))
            return
        bad = next(((n, value) for n, value in zip(names, values.tolist()) if not math.isfinite(value)), None)
        if bad is not None:
            suspects = self._suspects(generator, discriminator, batch, outcome)
            raise _term_error(moment.step, side, *bad, _first_bad(suspects))

    def check_gradient(self, side: Side, gradients: Mapping[str, Tensor], norm: Tensor, moment: Moment) -> None:
        """Check the norm of a player's gradient, which consists of `gradients` by parameter.

        Raises:
            NotFiniteError: it is NaN or infinite, and checks are not deferred; the error names the parameter.
        """
        if self.deferred(norm.device):
            self._keep(moment, side, (), norm[None], gradients)
        elif not math.isfinite(norm.item()):
            raise _gradient_error(moment.step, side, _first_bad(gradients))

    def read(self) -> None:
        """Raise NotFiniteError for the first deferred check that failed on any worker; wait for the device."""
        if self._pending:
            error = self._first_error()
            self._pending.clear()
            workers().fail_together(error)

    def _first_error(self) -> tuple[int, NotFiniteError] | None:
        """The first failed check's place among those pending, which all workers have in the same order, and error."""
        values = iter(torch.cat([check.values for check in self._pending]).tolist())
        for place, check in enumerate(self._pending):
            for index, value in zip(range(len(check.values)), values):
                if not math.isfinite(value):
                    return place, check.error(index, value)
        return None

    def _suspects(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, outcome: Outcome
    ) -> dict[str, Tensor]:
        """All tensors on the way from the batch to the logits, in order, by description."""
        found = {f"'{name}' of the batch": tensor for name, tensor in batch.items()}
        found |= self._parameters_of("generator", generator)
        found |= {f"generated '{name}'": tensor for name, tensor in outcome.made.items()}
        found |= self._parameters_of("discriminator", discriminator)
        for name, match in outcome.matches.items():
            found |= {f"{kind} logits of '{name}'": logits for kind, logits in match.known_logits.items()}
        return found

    def _parameters_of(self, side: Side, network: nn.Module) -> dict[str, Tensor]:
        """A network's parameters by description, collected once: in each step, it would take longer than the check."""
        if side not in self._parameters or self._parameters[side][0] is not network:
            named: dict[str, Tensor] = {f"{side}'s parameter '{n}'": p for n, p in network.named_parameters()}
            self._parameters[side] = network, named
        return self._parameters[side][1]

    @torch.no_grad()
    def _keep(
        self, moment: Moment, side: Side, terms: tuple[str, ...], values: Tensor, suspects: Mapping[str, Tensor]
    ) -> None:
        """Keep what tells whether this check failed."""
        here = values.device
        suspects = {n: t for n, t in suspects.items() if t.is_floating_point() and t.numel() and t.device == here}
        largest = torch.stack(torch._foreach_norm(list(suspects.values()), float("inf")))
        names = tuple(suspects)
        names = self._names.setdefault(names, names)
        self._pending.append(_Check(moment.step, side, terms, values, names, largest))
        if len(self._pending) == MOST_PENDING:
            self.read()


def _first_bad(suspects: Mapping[str, Tensor]) -> str:
    """Name of the first tensor with NaN or infinity; "" if all are finite."""
    return next((name for name, tensor in suspects.items() if not tensor.isfinite().all()), "")


def _term_error(step: int, side: Side, term: str, value: float, first: str) -> NotFiniteError:
    where = f"the first tensor that is not finite: {first or INPUTS_FINITE}"
    return NotFiniteError(f"step {step}: the {side}'s term '{term}' is {value}; {where}")


def _gradient_error(step: int, side: Side, name: str) -> NotFiniteError:
    return NotFiniteError(f"step {step}: the {side}'s gradient of '{name or 'sum of squares'}' is not finite")
