"""Stop at the first NaN or infinity, and name the tensor that it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparring.base.errors import NotFiniteError
from sparring.game.match import Batch, Moment, Side
from sparring.game.outcome import Outcome

NEVER = 1 << 62  # no check has failed
INPUTS_FINITE = "the term itself (its inputs are finite)"


@dataclass(frozen=True)
class _Check:
    """One check on the device. It fails with the code `start + term * (len(suspects) + 1) + suspect`."""

    start: int
    step: int
    side: Side
    terms: tuple[str, ...]
    suspects: tuple[str, ...]


class FiniteChecks:
    """Checks of the terms and gradients of a game.

    On a CPU, a check raises at once. On an accelerator, that would stop the host until all queued work is done, so a
    check only updates the code of the first failure on the device, and `read` raises later.

    Args:
        deferred: checks do not raise; None: on accelerators.
    """

    def __init__(self, deferred: bool | None = None) -> None:
        self._deferred = deferred
        self._code: Tensor | None = None  # code of the first failed check, on the device
        self._checks: list[_Check] = []  # since the last reading
        self._next = 0  # code at which the next check starts
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal names are stored once

    def deferred(self, device: torch.device) -> bool:
        """Checks on this device do not raise before `read`."""
        return device.type != "cpu" if self._deferred is None else self._deferred

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
            self._record(moment, side, names, values, _suspects(generator, discriminator, batch, outcome))
            return
        bad = next(((n, value) for n, value in zip(names, values.tolist()) if not math.isfinite(value)), None)
        if bad is not None:
            suspects = _suspects(generator, discriminator, batch, outcome)
            first = next((n for n, t in suspects.items() if not t.isfinite().all()), INPUTS_FINITE)
            raise NotFiniteError(_term_message(moment.step, side, bad[0], f"is {bad[1]}", first))

    def check_gradient(self, side: Side, gradients: Mapping[str, Tensor], norm: Tensor, moment: Moment) -> None:
        """Check the norm of a player's gradient, which consists of `gradients` by parameter.

        Raises:
            NotFiniteError: it is NaN or infinite, and checks are not deferred; the error names the parameter.
        """
        if self.deferred(norm.device):
            self._record(moment, side, (), norm[None], gradients)
        elif not math.isfinite(norm.item()):
            name = next((n for n, g in gradients.items() if not g.isfinite().all()), "")
            raise NotFiniteError(_gradient_message(moment.step, side, name))

    def read(self) -> None:
        """Raise NotFiniteError for the first deferred check that failed; on an accelerator, wait for it."""
        code = NEVER if self._code is None else int(self._code.item())
        if code != NEVER:
            check = next(check for check in reversed(self._checks) if check.start <= code)
            term, suspect = divmod(code - check.start, len(check.suspects) + 1)
            first = (*check.suspects, "")[suspect]
            if not check.terms:
                raise NotFiniteError(_gradient_message(check.step, check.side, first))
            what = first or INPUTS_FINITE
            raise NotFiniteError(_term_message(check.step, check.side, check.terms[term], "is not finite", what))
        self._checks.clear()
        self._next = 0

    @torch.no_grad()
    def _record(
        self, moment: Moment, side: Side, terms: tuple[str, ...], values: Tensor, suspects: Mapping[str, Tensor]
    ) -> None:
        """Keep the code of this check on the device if a value is not finite and no earlier check failed."""
        here = values.device
        suspects = {n: t for n, t in suspects.items() if t.is_floating_point() and t.numel() and t.device == here}
        largest = torch.stack(torch._foreach_norm(list(suspects.values()), float("inf")))
        term, suspect = _first_bad(values), _first_bad(largest)
        code = self._next + term * (len(suspects) + 1) + suspect
        code = code.masked_fill(term == len(values), NEVER)
        self._code = code if self._code is None else torch.minimum(self._code, code)  # codes rise from check to check
        names = tuple(suspects)
        names = self._names.setdefault(names, names)
        self._checks.append(_Check(self._next, moment.step, side, terms, names))
        self._next += len(values) * (len(suspects) + 1)


def _first_bad(values: Tensor) -> Tensor:
    """Index of the first NaN or infinity in a vector, or its length, without reading it."""
    return values.isfinite().cumprod(0, dtype=torch.int32).sum()


def _suspects(generator: nn.Module, discriminator: nn.Module, batch: Batch, outcome: Outcome) -> dict[str, Tensor]:
    """All tensors on the way from the batch to the logits, in order, by description."""
    found = {f"'{name}' of the batch": tensor for name, tensor in batch.items()}
    found |= {f"generator's parameter '{n}'": p for n, p in generator.named_parameters()}
    found |= {f"generated '{name}'": tensor for name, tensor in outcome.made.items()}
    found |= {f"discriminator's parameter '{n}'": p for n, p in discriminator.named_parameters()}
    for name, match in outcome.matches.items():
        found |= {f"{kind} logits of '{name}'": logits for kind, logits in match.known_logits.items()}
    return found


def _term_message(step: int, side: Side, term: str, what: str, first: str) -> str:
    return f"step {step}: the {side}'s term '{term}' {what}; the first tensor that is not finite: {first}"


def _gradient_message(step: int, side: Side, name: str) -> str:
    return f"step {step}: the {side}'s gradient of '{name or 'sum of squares'}' is not finite"
