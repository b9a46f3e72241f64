"""Scores with their protocol, which decides whether two scores are comparable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sparring.base.errors import UserError

METRICS_VERSION = 1  # raised whenever a metric's value changes for the same samples


def _reported(default: Any) -> Any:
    """A field that is recorded but does not keep scores apart."""
    return field(default=default, metadata={"reported": True})


@dataclass(frozen=True)
class Protocol:
    """Everything that a score depends on besides the generator. Scores are comparable if their protocols agree.

    The last three fields are recorded but do not keep scores apart.

    Attributes:
        data: name of the reference data.
        data_digest: hash of its samples, including held-out ones.
        split: part of the data that samples are compared with.
        reference: number of reference samples.
        count: number of scored samples.
        extractor: text of the extractor.
        extractor_digest: hash of its weights.
        resizer: how images are resized for the extractor.
        weights: "as sampled" (the EMA, if the run has one) or "raw".
        degradation: degradation of the images that a run restores, with its seed; empty for other runs.
        metrics: version of the metrics.
        seed: seed of the samples and of the choice of reference samples.
        ema: the weights are an EMA; None for images of unknown origin.
        version: version of Sparring.
    """

    data: str
    data_digest: str
    split: str
    reference: int
    count: int
    extractor: str
    extractor_digest: str
    resizer: str
    weights: str = "as sampled"
    degradation: str = ""
    metrics: int = METRICS_VERSION
    seed: int = _reported(0)
    ema: bool | None = _reported(None)
    version: str = _reported("")

    def describe(self) -> str:
        """The protocol in one line."""
        degraded = f", degraded by {self.degradation}" if self.degradation else ""
        average = {True: ", EMA weights", False: ", no EMA", None: ""}[self.ema]
        return (
            f"{self.count:,} samples ({self.weights}{average}, seed {self.seed}) against {self.reference:,} of "
            f"{self.data}/{self.split} [{self.data_digest[:8]}]{degraded}; {self.extractor} "
            f"[{self.extractor_digest[:8]}], resizer: {self.resizer}; metrics {self.metrics}, version {self.version}"
        )


def differences(one: Protocol, other: Protocol, reported: bool = False) -> list[str]:
    """Differences of two protocols that keep scores apart, such as "count 10000 and 5000".

    With `reported`, the differences in fields that are only recorded.
    """
    found = []
    for f in fields(Protocol):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if a != b and bool(f.metadata.get("reported")) == reported:
            found.append(f"{f.name.replace('_', ' ')} {a} and {b}")
    for name, proof in (("data", "data_digest"), ("extractor", "extractor_digest")):
        if getattr(one, proof) == getattr(other, proof):  # equal hashes under two names are the same
            found = [text for text in found if not text.startswith(f"{name} ")]
    return found


@dataclass(frozen=True)
class Scores:
    """Scores of a generator at one training step, or of a set of images.

    Attributes:
        subject: the run directory, or the path of the images.
        values: values by name.
        protocol: what the scores depend on.
        step: training step; None for images.
        seconds: training time; None for images.
        errors: standard errors by name, for values that have one.
        notes: remarks and warnings for reading the values.
        asked: requested metrics, including those that could not be computed.
        checkpoint: SHA-256 of the weights' file; empty for images.
        cost: scoring time in seconds.
    """

    subject: str
    values: Mapping[str, float]
    protocol: Protocol
    step: int | None = None
    seconds: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    asked: Sequence[str] = ()
    checkpoint: str = ""
    cost: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON; infinite values become text."""
        plain = asdict(self)
        for part in ("values", "errors"):
            plain[part] = {n: v if abs(v) < float("inf") else str(v) for n, v in plain[part].items()}
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], source: str) -> Scores:
        """Convert the result of `to_json` back.

        Args:
            plain: the plain values.
            source: where they come from, for the message.

        Raises:
            UserError: the values are damaged.
        """
        try:
            values = {str(name): float(value) for name, value in plain["values"].items()}
            errors = {str(name): float(value) for name, value in plain["errors"].items()}
            known = {f.name for f in fields(Protocol)}
            protocol = Protocol(**{name: value for name, value in plain["protocol"].items() if name in known})
            rest = {
                name: plain[name] for name in ("subject", "step", "seconds", "notes", "asked", "checkpoint", "cost")
            }
            rest["notes"] = [re.sub("^CAREFUL", "WARNING", note) for note in rest["notes"]]  # of earlier versions
            return cls(values=values, errors=errors, protocol=protocol, **rest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{source} is damaged ({error!r}); remove it and run sparring evaluate again") from error
