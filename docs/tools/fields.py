"""Griffe extension: signatures show a component's defaults, not the functions that check its fields."""

from __future__ import annotations

from typing import Any

import griffe

CHECKED = {"_field", "checked", "choice", "flag", "number", "scheduled"}


class Fields(griffe.Extension):
    """`every: int = number(1, low=1)` becomes `every: int = 1`."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Replace the value of a field by its default."""
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) in CHECKED and value.arguments:
            attr.value = value.arguments[0]
