"""Classes from what data say of each sample: names, numbers, or nothing."""

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
    """(labels, int64 [N] into the classes, or None; the classes) of what each of N samples is labelled with.

    Args:
        source: where they come from, for messages.
        found: of each sample a class's name or number; None, or -1 of numbered `names`, where it has none.
        names: the classes, where they are known: numbers count in them, texts are among them. Else they are the
            different labels, in order.
        part: these samples are a part of a set, which need not have all classes.

    Raises:
        UserError: some samples have no label, a label is negative or no class, or there are more classes than samples.
    """
    missing = [i for i, label in enumerate(found) if label is None or (names and label == -1)]
    if len(missing) == len(found):
        return None, ()
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(found)} samples have no label (the first is number {missing[0]}, from "
            "0 on); label them, or remove them or all labels"
        )
    _check_numbers(source, found, names)
    classes = tuple(names) or tuple(map(str, sorted({label for label in found if label is not None}, key=_order)))
    if len(classes) > len(found) and not part:
        counts = f"{len(classes)} classes, but {len(found)} samples"
        raise UserError(f"{source} has {counts}; remove the labels, or take more samples")
    index = {name: i for i, name in enumerate(classes)}
    return torch.tensor([label if names and isinstance(label, int) else index[str(label)] for label in found]), classes


def _check_numbers(source: str, found: Sequence[Label], names: Sequence[str]) -> None:
    known = set(names)
    for number, label in enumerate(found):
        if isinstance(label, int) and label < 0:
            wrong = "; labels are names, or whole numbers from 0 on"
        elif known and (label >= len(names) if isinstance(label, int) else label not in known):
            classes = f"{len(names)} classes ({', '.join(names[:SHOWN])} ...)"
            wrong = f", which is none of the {classes}; mend the label, or the names of the classes"
        else:
            continue
        raise UserError(f"{source}: sample {number} has label {label!r}{wrong}")


def _order(label: str | int) -> tuple[bool, int, str]:
    """Numbers by value, then texts."""
    return (True, 0, label) if isinstance(label, str) else (False, label, "")


def lonely_classes(counts: Sequence[int], classes: Sequence[str]) -> tuple[str, ...]:
    """A line about the classes that have one sample, if there are such."""
    lonely = [repr(name) for name, count in zip(classes, counts) if count == 1]
    if len(lonely) == 1:
        return (f"careful: class {lonely[0]} has one image",)
    return (f"careful: classes {listed(lonely, SHOWN, ' and')} have one image each",) if lonely else ()


def count_classes(labels: Tensor | None, classes: Sequence[str]) -> tuple[int, ...]:
    """How many samples each class has; () without labels."""
    return () if labels is None else tuple(torch.bincount(labels, minlength=len(classes)).tolist())
