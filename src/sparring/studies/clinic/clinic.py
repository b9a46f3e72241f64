"""Run the clinic: train the cases without a result, assess all of them, and write the page."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sparring.base.components import trusted
from sparring.base.cores import available_cores, limit_cores
from sparring.base.errors import UserError, check_number, writing
from sparring.base.process import claimed
from sparring.studies.clinic.case import HEALTHY, Case
from sparring.studies.clinic.cases import CASES, MATCHED
from sparring.studies.clinic.score import Assessment, assess, markdown, summary, table
from sparring.studies.clinic.training import RESULT, read_result, train_case
from sparring.studies.clinic.treated import RESULT as TREATED
from sparring.studies.clinic.treated import Pair, TreatedCase, pairs, read_treated, save_pictures, treat_case
from sparring.studies.clinic.treated import table as treated_table

ABOUT = """\
# The clinic

`sparring clinic` measures how often the doctor is right. It trains cases with an injected fault and healthy controls,
and compares the doctor's findings at each probe with the truth: the injected fault, and a score that the doctor does
not see, measured at twenty steps of the run.

| case | score |
| --- | --- |
| points | exact Wasserstein distance, modes covered |
| images | Frechet distance, modes by an independent classifier |
| image to image | Frechet distance |

The cases are in `healthy.toml`, `failing.toml` and `translating.toml` of `sparring/studies/clinic`, the networks with
an injected fault in `faults.py`.

| count | meaning |
| --- | --- |
| failure found | at the end the doctor finds the injected failure, or one that it is known to cause |
| injected failure itself found | the same without the failures that it causes |
| found in time | the first correct finding comes at most a quarter of the run after the onset |
| false alarm | the doctor finds a failure in a healthy run, at its end or at any probe |

The *onset* is the point from which the run stays bad: its score is 1.5 times worse than the healthy control's at the
same step or 1.15 times worse than its own best before, or it covers too few modes. Without an onset, a quarter of the
run counts from the start.

"""
CaseRun = tuple[Case, int]
Task = tuple[Case, int, Path]  # case, seed, and the clinic's folder, for another process
BY_NAME = {case.name: case for case in (*CASES, *MATCHED.values())}


def run_clinic(
    folder: Path,
    *,
    seeds: int = 3,
    quick: bool = False,
    only: str = "",
    jobs: int = 0,
    treat: bool = False,
    note: Callable[[str], None] = print,
) -> list[str]:
    """Train each case with each seed, unless its result exists; assess all results, and write `clinic.md`.

    An interrupted clinic resumes; several processes may share the folder.

    Args:
        folder: gets a run directory for each case and seed, `clinic.md` and `pictures/`.
        seeds: number of seeds for each case.
        quick: train a few cases only.
        only: regular expression; train the cases whose name contains a match.
        jobs: trainings at a time, each in a process with one thread; 0: as many as cores are available.
        treat: also treat the failing runs whose fault is in the recipe.
        note: called with a line about each finished run.

    Returns:
        Counts and tables, lines of Markdown.

    Raises:
        UserError: a number or pattern is not allowed, or the folder cannot be written.
    """
    check_number("clinic", "seeds", seeds, low=1, whole=True)
    check_number("clinic", "jobs", jobs, low=0, whole=True)
    cases = [case for case in CASES if case.quick or not quick]
    case_runs = [(case, seed) for seed in range(seeds) for case in cases if _pattern(only).search(case.name)]
    if not case_runs:
        raise UserError(f"clinic: no case's name contains {only!r}; choose from: {', '.join(c.name for c in cases)}")
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    to_treat = [case_run for case_run in case_runs if treat and case_run[0].treatable]
    controls = [(BY_NAME[case.control], seed) for case, seed in case_runs]
    controls += [(MATCHED[case.name], seed) for case, seed in to_treat]
    todo = [case_run for case_run in dict.fromkeys([*controls, *case_runs]) if not is_done(folder, case_run)]
    _work(_train_one, todo, folder, jobs or available_cores(), note)
    untreated = [case_run for case_run in to_treat if not (folder / run_name(*case_run) / TREATED).exists()]
    _work(_treat_one, untreated, folder, jobs or available_cores(), note)
    whole = [(case, seed) for case in cases for seed in range(seeds)]
    results = [read_treated(*case_run, folder / run_name(*case_run)) for case_run in whole]
    treated = [result for result in results if result is not None]
    found = lines(assess_all(folder, whole), treated)
    before_after = pairs(treated, lambda each: folder / run_name(each.case, each.seed))
    save_pictures([*with_controls(folder, whole), *before_after], folder / "pictures")
    with writing(folder / "clinic.md", "make room"):
        (folder / "clinic.md").write_text(ABOUT + "\n".join(found) + "\n", encoding="utf-8")
    return found


def assess_all(folder: Path, case_runs: Sequence[CaseRun]) -> list[Assessment]:
    """Assess the runs that have a result."""
    controls = [
        (BY_NAME[case.control], seed) if case.control != case.name else (case, seed) for case, seed in case_runs
    ]
    results = {
        case_run: read_result(folder / run_name(*case_run)) for case_run in dict.fromkeys([*case_runs, *controls])
    }
    found = []
    for case_run, control in zip(case_runs, controls):
        if (result := results[case_run]) is not None:
            found.append(assess(case_run[0], result, results[control] if control != case_run else None))
    return found


def is_done(folder: Path, case_run: CaseRun) -> bool:
    """The run was trained to its end."""
    return (folder / run_name(*case_run) / RESULT).exists()


def run_name(case: Case, seed: int) -> str:
    """The name of the run directory."""
    return f"{case.name}-{seed}"


def lines(assessments: Sequence[Assessment], treated: Sequence[TreatedCase]) -> list[str]:
    """The counts and tables of all assessed and treated runs, in Markdown."""
    counted = summary(assessments).items()
    counts = [(name, f"{n} of {total}", f"{n / max(1, total):.0%}") for name, (n, total) in counted]
    treatments = ["", "## Treatments", "", *treated_table(treated)] if treated else []
    return [*markdown(("count", "runs", "share"), counts), "", *table(assessments), *treatments]


def with_controls(folder: Path, case_runs: Sequence[CaseRun]) -> list[Pair]:
    """For each failure a failing run and its healthy control, as pictures for failures that were not treated."""
    found: dict[str, Pair] = {}
    for case, seed in case_runs:
        control = BY_NAME[case.control]
        if case.failure != HEALTHY and is_done(folder, (case, seed)) and is_done(folder, (control, seed)):
            pair = (case.failure, folder / run_name(case, seed), folder / run_name(control, seed))
            found.setdefault(case.failure, pair)
    return list(found.values())


def _work(
    one: Callable[[Task], str], case_runs: Sequence[CaseRun], folder: Path, jobs: int, note: Callable[[str], None]
) -> None:
    """Process the runs in parallel, each in a process with one thread."""
    if not case_runs:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(case_runs)), spawn, initializer=_start_process) as pool:
        for line in pool.map(one, [(case, seed, folder) for case, seed in case_runs]):
            note(line)


def _start_process() -> None:
    """Use one thread, and hide the progress lines of trainings."""
    limit_cores(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the process


def _train_one(work: Task) -> str:
    case, seed, folder = work
    path = folder / run_name(case, seed)
    with claimed(path) as mine:
        if not mine:
            return f"{path.name}: another process trains it"
        train_case(case, seed, path)
    return f"{path.name}: done"


def _treat_one(work: Task) -> str:
    case, seed, folder = work
    both = ((case, seed), (MATCHED[case.name], seed))
    path, control = (folder / run_name(*each) for each in both)
    with claimed(path) as mine:
        if not mine or not all(is_done(folder, each) for each in both):
            return f"{path.name}: another process works on it or its control; repeat the command"
        with trusted(True):  # component texts of faults are dotted names
            treat_case(case, seed, path, control)
    return f"{path.name}: treated"


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"clinic: {text!r} is not a regular expression: {error}") from error
