"""Data sets: named sets, folders, archives, tables and arrays, all loaded as one type, `Data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.base.lazy import lazy_names

if TYPE_CHECKING:
    from sparring.data.form import Form
    from sparring.data.layout import Layout, Pairs, Sets, Single
    from sparring.data.load import load_data, load_held_out
    from sparring.data.sampler import Sampler
    from sparring.data.samples import Data, Mixture, Split
    from sparring.data.store.whole import Whole

__all__ = ["Data", "Form", "Layout", "Mixture", "Pairs", "Sampler", "Sets", "Single", "Split", "Whole"]
__all__ += ["load_data", "load_held_out"]

__getattr__ = lazy_names(
    "sparring.data",
    {
        "layout": ("Layout", "Pairs", "Sets", "Single"),
        "load": ("load_data", "load_held_out"),
        "sampler": ("Sampler",),
        "samples": ("Data", "Form", "Mixture", "Split"),
        "store.whole": ("Whole",),
    },
)
