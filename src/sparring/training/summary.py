"""The summary of a run: recipe, metrics and their meaning, curves and the last picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparring.base.errors import writing
from sparring.data.samples import Data
from sparring.evaluation.options import better
from sparring.evaluation.report import ARROWS
from sparring.evaluation.similarity import BASELINE, SIMILARITY
from sparring.game.losses import Loss, equilibrium
from sparring.run.clock import PREFIX, Clock
from sparring.run.directory import Run
from sparring.run.log import CHECKPOINT, EVALUATION, LEAKED, PROBE, RESUME, STOP, Row, kind_of, of_kind
from sparring.tasks.base import Task
from sparring.training.progress import budget

BALANCED = """\
- The losses do not measure how good the samples are. G and D are balanced if both losses stay near their equilibrium
  (dashed in the plot) and D's accuracy stays somewhat above 50 %.
- Accuracy near 100 % for a long time: D is too strong, and G learns little. Accuracy at 50 % from the start: D does
  not learn.
"""
SLICED = """\
- `sliced_wasserstein`: distance between samples and data, 0 if they are distributed alike; lower is better.
"""
TERMS = """\
- `term/`: the other terms of the loss of G or D, with their weights; they should fall.
"""


def write_summary(run: Run, data: Data, loss: Loss, task: Task, step: int, clock: Clock) -> None:
    """Write `summary.md` and `curves.png` into the run directory, for the run up to `step` and its times."""
    recipe = run.read_recipe()
    rows = run.rows()
    if not rows:
        return
    draw_curves(run, rows, equilibrium(loss))
    last = rows[-1]
    pictures = sorted(run.samples.glob("step-*.png"))
    shown = f"![the last samples](samples/{pictures[-1].name})" if pictures else "No pictures were saved."
    history = run.history()
    metrics = {n: v for n, v in last.items() if not n.startswith(PREFIX)} | last_scores(history)
    ends = of_kind(history, STOP, RESUME)[-1:]
    stopped = "".join(f"\n\nIt stopped early: {row['what']}." for row in ends if kind_of(row) == STOP)
    table = "\n".join(f"| {n} | {v:,} |" if isinstance(v, int) else f"| {n} | {v:,.4g} |" for n, v in metrics.items())
    text = f"""# {run.path.name}

Recipe: {recipe.about or "without a description"}.

Trained on {data.name} ({data.amount}, samples of shape {list(data.form.shape)}) for {step:,} steps in
{clock.seconds:,.0f} s of training; the budget is {budget(recipe)}.
Precision {recipe.precision}, seed {recipe.seed}.{stopped}

{times(clock)}

{shown}

![losses, accuracy and gradients](curves.png)

| last metrics and scores | |
| --- | --- |
{table}

{meaning(metrics, task)}{doctors_section(run, history)}
Next: `{task.use.format(run=run.path)}{recipe.trust}`, `sparring resume {run.path} {recipe.longer(step)}{recipe.trust}`.
"""
    run.write("summary.md", text)


def times(clock: Clock) -> str:
    """The time of training and of each overhead, with their shares, in one line."""
    whole = max(clock.wall_seconds, 1e-9)
    parts = {"training": clock.seconds, **clock.overheads}
    return f"Time: {', '.join(f'{name} {s:,.0f} s ({s / whole:.0%})' for name, s in parts.items())}."


def meaning(metrics: Mapping[str, float], task: Task) -> str:
    """How to read these metrics and scores: a list in Markdown."""
    found = BALANCED if "accuracy" in metrics else ""
    found += SLICED if "sliced_wasserstein" in metrics else ""
    if not task.scores:
        return found
    found += TERMS if any(name.startswith("term/") for name in metrics) else ""
    for name in metrics:
        if name in SIMILARITY:
            found += f"- `{name}`: {SIMILARITY[name].about}; {ARROWS[better(name)]}.\n"
    if any(name.endswith(BASELINE) for name in metrics):
        found += f"- `{BASELINE}`: the score of {task.baseline_name}; the run should be better.\n"
    return found


def doctors_section(run: Run, history: Sequence[Row]) -> str:
    """The doctor's findings and suggested fixes in Markdown; "" for a run that was not watched."""
    from sparring.doctor.diagnosis.findings import diagnose
    from sparring.doctor.diagnosis.report import lines

    if not of_kind(history, PROBE, LEAKED):
        return ""
    findings = diagnose(history)
    return "\n## The doctor\n\n```\n" + "\n".join(lines(run, findings)) + "\n```\n"


def last_scores(history: Sequence[Row]) -> dict[str, float]:
    """The scores of the last checkpoint or evaluation in the log."""
    found: dict[str, float] = {}
    for row in history:
        if kind_of(row) in (CHECKPOINT, EVALUATION):
            found = {n: v for n, v in row.items() if n not in ("step", "seconds", "event", "cost")}
    return found


def draw_curves(run: Run, rows: Sequence[Row], lines: tuple[float, float]) -> None:
    """Plot losses with their equilibrium, D's accuracy and gradient norms over the steps."""
    from matplotlib.figure import Figure

    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 9), layout="constrained")
    losses, accuracy, gradients = figure.subplots(3, 1, sharex=True)
    nothing = float("nan")  # a gap while no adversarial term is active
    for side, colour, line in (("discriminator", "tab:blue", lines[0]), ("generator", "tab:orange", lines[1])):
        losses.plot(steps, [row.get(f"loss/{side}", nothing) for row in rows], color=colour, lw=1, label=side)
        losses.axhline(line, color=colour, ls="--", lw=1, label=f"equilibrium {line:.3g}")
        gradients.plot(steps, [row.get(f"gradient/{side}", nothing) for row in rows], color=colour, lw=1, label=side)
    losses.set_ylabel("adversarial loss")
    accuracy.plot(steps, [row.get("accuracy", nothing) for row in rows], color="tab:green", lw=1)
    accuracy.axhline(0.5, color="grey", ls="--", lw=1)
    accuracy.set(ylabel="D's accuracy", ylim=(0, 1))
    gradients.set(ylabel="gradient norm", xlabel="step", yscale="log")
    losses.legend()
    gradients.legend()
    with writing(run.path / "curves.png", run.fix):
        figure.savefig(run.path / "curves.png", dpi=100)
