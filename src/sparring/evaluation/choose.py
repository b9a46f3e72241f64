"""Which scoring belongs to a task."""

from __future__ import annotations

from sparring.data.samples import Data
from sparring.evaluation.generated import Generated
from sparring.evaluation.options import Options
from sparring.evaluation.scoring import Scoring
from sparring.evaluation.translated import Translated
from sparring.tasks.base import Task, Translating


def scoring_of(
    task: Task,
    train: Data,
    options: Options,
    held_out: Data | None = None,
    *,
    on: Data | None = None,
    like: Scoring | None = None,
) -> Scoring:
    """How runs of a task are scored.

    Args:
        task: what they are trained for, for the form of this data.
        train: what they are trained on.
        options: how to score.
        held_out: samples of the same distribution that no training saw, or None.
        on: other test images, for runs that turn images into others.
        like: a scoring on the same data by the same options; what it knows of them is shared.

    Raises:
        UserError: the options do not fit the data, or an extractor cannot be had.
    """
    kind = Translated if isinstance(task, Translating) else Generated
    if isinstance(like, kind):
        return like.for_task(task)
    if isinstance(task, Translating):
        return Translated(task, train, options, held_out, on)
    return Generated(train, options, held_out)
