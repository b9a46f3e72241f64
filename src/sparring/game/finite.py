"""Stop at the first NaN or infinity, and find the tensor that it came from."""

from __future__ import annotations

import math

from torch import nn

from sparring.base.errors import NotFiniteError
from sparring.game.match import Batch, Moment, Side
from sparring.game.outcome import Outcome


def check_terms(
    generator: nn.Module, discriminator: nn.Module, side: Side, batch: Batch, outcome: Outcome, moment: Moment
) -> None:
    """Raise NotFiniteError if a term is NaN or infinite; the error names the first tensor that is not finite."""
    bad = [name for name, value in outcome.terms.items() if not math.isfinite(value.item())]
    if bad:
        value = outcome.terms[bad[0]].item()
        raise NotFiniteError(
            f"step {moment.step}: the {side}'s term '{bad[0]}' is {value}; "
            f"the first tensor that is not finite: {_first_bad(generator, discriminator, batch, outcome)}"
        )


def _first_bad(generator: nn.Module, discriminator: nn.Module, batch: Batch, outcome: Outcome) -> str:
    """The first tensor with NaN or infinity on the way from the batch to the logits."""
    suspects = [(f"'{name}' of the batch", tensor) for name, tensor in batch.items()]
    suspects += [(f"generator's parameter '{n}'", p) for n, p in generator.named_parameters()]
    suspects += [(f"generated '{name}'", tensor) for name, tensor in outcome.made.items()]
    suspects += [(f"discriminator's parameter '{n}'", p) for n, p in discriminator.named_parameters()]
    for name, match in outcome.matches.items():
        suspects += [(f"real logits of '{name}'", match.real_logits), (f"fake logits of '{name}'", match.fake_logits)]
    return next((n for n, t in suspects if not t.isfinite().all()), "the term itself (its inputs are finite)")
