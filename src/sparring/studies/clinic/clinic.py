"""The clinic's round: trains what has no result yet, judges all of it, and writes the page."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sparring.base.components import trusted
from sparring.base.errors import UserError, check_number, writing
from sparring.base.process import claimed
from sparring.studies.clinic.case import HEALTHY, Case
from sparring.studies.clinic.cases import CASES, MATCHED
from sparring.studies.clinic.score import Judged, judge, markdown, summary, table
from sparring.studies.clinic.training import RESULT, read_result, train_case
from sparring.studies.clinic.treated import RESULT as CURED
from sparring.studies.clinic.treated import Pair, TreatedCase, pairs, read_treated, save_pictures, treat_case
from sparring.studies.clinic.treated import table as treated_table

ABOUT = """\
# The clinic

`sparring clinic` trains cases of which is known what ails them, and asks the doctor at each of its looks. The truth
comes from outside: the fault that was planted, and a score at twenty moments of the run, which the doctor does not
read: for points the exact Wasserstein distance and the modes covered, for images the Frechet distance and the modes by
an independent classifier, for images that are made of others the Frechet distance alone. The cases are in
`healthy.toml`, `sick.toml` and `translating.toml` of `sparring/clinic`, networks with a planted fault in `plants.py`.

- *Named right*: the planted illness, or one that the plant is known to bring about, is among the verdicts at the end.
- *In time*: a right name was told before a quarter of the run after the onset was over. The onset is the moment from
  which on that score stays 1.5 times worse than the healthy control's at the same step, or 1.15 times worse than the
  run's own best before, or too few modes are covered; where it never is, the clock runs from the start.
- *Accused*: an illness was named in a healthy run, at its end, or at any of its looks.

"""
CaseRun = tuple[Case, int]
Task = tuple[Case, int, Path]  # with the folder of all: what another process is told
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
    """Train each case with each seed, unless its result is in the folder already; judge all that there are.

    `folder` holds a folder a case and seed, and `clinic.md`: rounds that were stopped go on; processes may share it.
    The options are those of `sparring clinic`; `cures` also treats the sick runs whose fault is one of the recipe, and
    `note` is called with a line on each run that is done. Returns the counts and tables, lines of Markdown.
    UserError: a number or pattern that is not allowed, or a folder that cannot be written.
    """
    check_number("clinic", "seeds", seeds, low=1, whole=True)
    check_number("clinic", "jobs", jobs, low=0, whole=True)
    cases = [case for case in CASES if case.quick or not quick]
    case_runs = [(case, seed) for seed in range(seeds) for case in cases if _pattern(only).search(case.name)]
    if not case_runs:
        raise UserError(f"clinic: no case's name contains {only!r}; there is: {', '.join(c.name for c in cases)}")
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    to_treat = [case_run for case_run in case_runs if treat and case_run[0].treatable]
    controls = [(BY_NAME[case.control], seed) for case, seed in case_runs]
    controls += [(MATCHED[case.name], seed) for case, seed in to_treat]
    todo = [case_run for case_run in dict.fromkeys([*controls, *case_runs]) if not is_done(folder, case_run)]
    _work(_train_one, todo, folder, jobs or _cores(), note)
    untreated = [case_run for case_run in to_treat if not (folder / run_name(*case_run) / CURED).exists()]
    _work(_treat_one, untreated, folder, jobs or _cores(), note)
    whole = [(case, seed) for case in cases for seed in range(seeds)]
    treated = [
        treat_case
        for case_run in whole
        if (treat_case := read_treated(*case_run, folder / run_name(*case_run))) is not None
    ]
    found = lines(judge_all(folder, whole), treated)
    fixed = pairs(treated, lambda each: folder / run_name(each.case, each.seed))
    save_pictures([*beside_controls(folder, whole), *fixed], folder / "pictures")
    with writing(folder / "clinic.md", "make room"):
        (folder / "clinic.md").write_text(ABOUT + "\n".join(found) + "\n", encoding="utf-8")
    return found


def judge_all(folder: Path, case_runs: Sequence[CaseRun]) -> list[Judged]:
    """Judge those whose results are there."""
    controls = [
        (BY_NAME[case.control], seed) if case.control != case.name else (case, seed) for case, seed in case_runs
    ]
    results = {
        case_run: read_result(folder / run_name(*case_run)) for case_run in dict.fromkeys([*case_runs, *controls])
    }
    found = []
    for case_run, control in zip(case_runs, controls):
        if (result := results[case_run]) is not None:
            found.append(judge(case_run[0], result, results[control] if control != case_run else None))
    return found


def is_done(folder: Path, case_run: CaseRun) -> bool:
    """Was it trained to its end?"""
    return (folder / run_name(*case_run) / RESULT).exists()


def run_name(case: Case, seed: int) -> str:
    """The name of the run directory."""
    return f"{case.name}-{seed}"


def lines(judged: Sequence[Judged], treated_cases: Sequence[TreatedCase]) -> list[str]:
    """The counts and tables of what was judged and treated, in Markdown."""
    counts = [(name, f"{n} of {total}", f"{n / max(1, total):.0%}") for name, (n, total) in summary(judged).items()]
    treated = ["", "## Treated", "", *treated_table(treated_cases)] if treated_cases else []
    return [*markdown(("", "runs", ""), counts), "", *table(judged), *treated]


def beside_controls(folder: Path, case_runs: Sequence[CaseRun]) -> list[Pair]:
    """For each illness a sick run and its healthy control: what there is to see where nothing was treated."""
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
    """Do one thing with each of them, several at once, each in a process with one thread."""
    if not case_runs:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(case_runs)), spawn, initializer=_alone) as pool:
        for reported in pool.map(one, [(case, seed, folder) for case, seed in case_runs]):
            note(reported)


def _alone() -> None:
    """One thread for each process, and no lines of the trainings' own progress."""
    import torch

    torch.set_num_threads(1)
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
            return f"{path.name}: another process is at work on it or its control; give the command again"
        with trusted(True):  # the plants have dotted names
            treat_case(case, seed, path, control)
    return f"{path.name}: treated"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"clinic: {text!r} is not a regular expression: {error}") from error
