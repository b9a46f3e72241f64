"""Dataclass fields with limits: `n_critic: int = number(1, low=1)`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

from sparring.base.errors import check_choice, check_flag, check_number

Check: TypeAlias = "Callable[[str, str, object], None]"
"""(owner, field, value): raises UserError unless the value is allowed."""


class Limited:
    """A dataclass that checks its fields in `__post_init__`. A sub-class with more checks calls `super()` first."""

    def __post_init__(self) -> None:
        check_fields(type(self).__name__, self)


def check_fields(owner: str, made: Any) -> None:
    """Raise UserError unless each field of a dataclass is within its limits."""
    for name, check in _checks(type(made)):  # type: ignore[arg-type]  # mypy considers classes unhashable
        check(owner, name, getattr(made, name))


@cache
def _checks(kind: type[Any]) -> tuple[tuple[str, Check], ...]:
    """(field, check) pairs. A sub-class that only changes a default keeps its base's check."""
    fields = [f for base in reversed(kind.__mro__) for f in vars(base).get("__dataclass_fields__", {}).values()]
    return tuple({f.name: f.metadata["check"] for f in fields if "check" in f.metadata}.items())


def checked(default: Any, check: Check, **metadata: Any) -> Any:
    """A field with its own check."""
    return dataclasses.field(default=default, metadata={"check": check, **metadata})


def number(
    default: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    whole: bool | None = None,
    **metadata: Any,
) -> Any:
    """A field for a number in [low, high], or (low, high] with `open_low`. It must be whole where `whole` is True; by
    default, where the field's default is an int."""
    whole = isinstance(default, int) if whole is None else whole
    limits: dict[str, Any] = {"low": low, "high": high, "open_low": open_low, "whole": whole}
    return checked(default, partial(check_number, **limits), limits=limits, **metadata)


def choice(default: str, allowed: Sequence[str], **metadata: Any) -> Any:
    """A field for one of the `allowed` texts."""
    return checked(default, partial(check_choice, allowed=allowed), **metadata)


def flag(default: bool, **metadata: Any) -> Any:
    """A field for True or False."""
    return checked(default, check_flag, **metadata)
