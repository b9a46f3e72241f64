"""Classes from the labels of samples: names, numbers or none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.base.errors import UserError, listed

Label = str | int | None
SHOWN = 3


def class_labels(
    source: str, found: Sequence[Label], names: Sequence[str] = (), part: bool = False
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Class indices and class names from the labels of N samples.

    Args:
        source: the name of the data, for messages.
        found: the class name or number of each sample; None, or -1 with `names`, for no label.
        names: the classes, if known: numbers index them, strings must be among them. Otherwise the classes are the
            distinct labels, sorted.
        part: True for a part of a set, which need not contain all classes.

    Returns:
        Labels, int64 [N] into the classes, or None without labels; and the class names.

    Raises:
        UserError: only some samples have a label, a label is negative or unknown, or there are more classes than
            samples.
    """
    missing = [i for i, label in enumerate(found) if label is None or (names and label == -1)]
    if len(missing) == len(found):
        return None, ()
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(found)} samples have no label (first: sample {missing[0]}, counted from "
            "0); label all samples or none, or remove those without a label"
        )
    _check_numbers(source, found, names)
    classes = tuple(names) or tuple(map(str, sorted({label for label in found if label is not None}, key=_order)))
    if len(classes) > len(found) and not part:
        counts = f"{len(classes)} classes but only {len(found)} samples"
        raise UserError(f"{source} has {counts}; each class needs a sample: remove the labels or add samples")
    index = {name: i for i, name in enumerate(classes)}
    return torch.tensor([label if names and isinstance(label, int) else index[str(label)] for label in found]), classes


def _check_numbers(source: str, found: Sequence[Label], names: Sequence[str]) -> None:
    known = set(names)
    for number, label in enumerate(found):
        if isinstance(label, int) and label < 0:
            wrong = "; labels are names or whole numbers of at least 0; correct the label"
        elif known and (label >= len(names) if isinstance(label, int) else label not in known):
            classes = f"{len(names)} classes ({', '.join(names[:SHOWN])} ...)"
            wrong = f", which is not one of the {classes}; correct the label or the class names"
        else:
            continue
        raise UserError(f"{source}: sample {number} has label {label!r}{wrong}")


def _order(label: str | int) -> tuple[bool, int, str]:
    """Sort numbers by value, then strings."""
    return (True, 0, label) if isinstance(label, str) else (False, label, "")


def single_image_classes(counts: Sequence[int], classes: Sequence[str]) -> tuple[str, ...]:
    """A warning that names the classes with only one image; empty without any."""
    single = [repr(name) for name, count in zip(classes, counts) if count == 1]
    if len(single) == 1:
        return (f"warning: class {single[0]} has only one image",)
    return (f"warning: classes {listed(single, SHOWN, ' and')} have only one image each",) if single else ()


def count_classes(labels: Tensor | None, classes: Sequence[str]) -> tuple[int, ...]:
    """The number of samples of each class; () without labels."""
    return () if labels is None else tuple(torch.bincount(labels, minlength=len(classes)).tolist())
