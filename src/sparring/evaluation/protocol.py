"""What a score was measured with, and whether two scores may be put side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sparring.base.errors import UserError

METRICS_VERSION = 1  # raised whenever a metric's number changes for the same samples


def _reported(default: Any) -> Any:
    """A field that is told but does not keep scores apart."""
    return field(default=default, metadata={"reported": True})


@dataclass(frozen=True)
class Protocol:
    """All that a score depends on besides the generator."""

    data: str  # the reference set's name
    data_digest: str  # a hash of its samples, held-out ones too
    split: str  # the part of it that samples are compared with
    reference: int  # how many reference samples
    count: int  # how many samples
    extractor: str  # what turned them into features
    extractor_digest: str
    resizer: str
    weights: str = "as sampled"  # by the generator's average where it has one; or "raw"
    degradation: str = ""  # what was done to images that a run restored, with the seed of what is random in it
    metrics: int = METRICS_VERSION
    seed: int = _reported(0)  # of the samples and the choice of the reference
    ema: bool | None = _reported(None)  # the weights are an average; None for images of unknown origin
    version: str = _reported("")  # of the program

    def describe(self) -> str:
        """The protocol in one line."""
        degraded = f", degraded by {self.degradation}" if self.degradation else ""
        average = {True: ", from the average", False: ", no average", None: ""}[self.ema]
        return (
            f"{self.count:,} samples ({self.weights}{average}, seed {self.seed}) against {self.reference:,} of "
            f"{self.data}/{self.split} [{self.data_digest[:8]}]{degraded}; {self.extractor} "
            f"[{self.extractor_digest[:8]}], resizer: {self.resizer}; metrics {self.metrics}, version {self.version}"
        )


def differences(one: Protocol, other: Protocol, reported: bool = False) -> list[str]:
    """What keeps two scores apart, such as "count 10000 and 5000"; with `told`, what is merely worth telling."""
    found = []
    for f in fields(Protocol):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if a != b and bool(f.metadata.get("reported")) == reported:
            found.append(f"{f.name.replace('_', ' ')} {a} and {b}")
    for name, proof in (("data", "data_digest"), ("extractor", "extractor_digest")):
        if getattr(one, proof) == getattr(other, proof):  # the same thing may be called by two names
            found = [text for text in found if not text.startswith(f"{name} ")]
    return found


@dataclass(frozen=True)
class Scores:
    """What was measured of one generator at one step, or of a set of images."""

    subject: str  # the run directory, or where the images lie
    values: Mapping[str, float]
    protocol: Protocol
    step: int | None = None  # of training; None for images
    seconds: float | None = None  # of training
    errors: Mapping[str, float] = field(default_factory=dict)  # the standard error of each value that has one
    notes: Sequence[str] = ()  # what one must know to read the values
    asked: Sequence[str] = ()  # the metrics that were computed, or could not be
    checkpoint: str = ""  # the SHA-256 of its weights' file, where there is one
    cost: float = 0.0  # seconds that the scoring took

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they are written and printed. Infinite values become text, which JSON can hold."""
        plain = asdict(self)
        for part in ("values", "errors"):
            plain[part] = {n: v if abs(v) < float("inf") else str(v) for n, v in plain[part].items()}
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], source: str) -> Scores:
        """Read what `to_json` gave; raises UserError if it is something else."""
        try:
            values = {str(name): float(value) for name, value in plain["values"].items()}
            errors = {str(name): float(value) for name, value in plain["errors"].items()}
            known = {f.name for f in fields(Protocol)}
            protocol = Protocol(**{name: value for name, value in plain["protocol"].items() if name in known})
            rest = {
                name: plain[name] for name in ("subject", "step", "seconds", "notes", "asked", "checkpoint", "cost")
            }
            return cls(values=values, errors=errors, protocol=protocol, **rest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{source} is damaged ({error!r}); remove it, scores can be measured again") from error
