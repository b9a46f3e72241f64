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
from sparring.studies.clinic.cures import RESULT as CURED
from sparring.studies.clinic.cures import Cure, Pair, cure, pairs, read_cure, save_pictures
from sparring.studies.clinic.cures import table as cures_table
from sparring.studies.clinic.score import Judged, judge, markdown, summary, table
from sparring.studies.clinic.ward import RESULT, attend, read_result

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
Bed = tuple[Case, int]
Task = tuple[Case, int, Path]  # with the folder of all: what another process is told
BY_NAME = {case.name: case for case in (*CASES, *MATCHED.values())}


def make_rounds(
    folder: Path,
    *,
    seeds: int = 3,
    quick: bool = False,
    only: str = "",
    jobs: int = 0,
    cures: bool = False,
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
    beds = [(case, seed) for seed in range(seeds) for case in cases if _pattern(only).search(case.name)]
    if not beds:
        raise UserError(f"clinic: no case's name contains {only!r}; there is: {', '.join(c.name for c in cases)}")
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    to_cure = [bed for bed in beds if cures and bed[0].curable]
    controls = [(BY_NAME[case.control], seed) for case, seed in beds]
    controls += [(MATCHED[case.name], seed) for case, seed in to_cure]
    todo = [bed for bed in dict.fromkeys([*controls, *beds]) if not is_done(folder, bed)]
    _work(_attend_one, todo, folder, jobs or _cores(), note)
    untreated = [bed for bed in to_cure if not (folder / run_name(*bed) / CURED).exists()]
    _work(_cure_one, untreated, folder, jobs or _cores(), note)
    whole = [(case, seed) for case in cases for seed in range(seeds)]
    healed = [cure for bed in whole if (cure := read_cure(*bed, folder / run_name(*bed))) is not None]
    found = lines(judge_all(folder, whole), healed)
    cured = pairs(healed, lambda each: folder / run_name(each.case, each.seed))
    save_pictures([*beside_controls(folder, whole), *cured], folder / "pictures")
    with writing(folder / "clinic.md", "make room"):
        (folder / "clinic.md").write_text(ABOUT + "\n".join(found) + "\n", encoding="utf-8")
    return found


def judge_all(folder: Path, beds: Sequence[Bed]) -> list[Judged]:
    """Judge those whose results are there."""
    controls = [(BY_NAME[case.control], seed) if case.control != case.name else (case, seed) for case, seed in beds]
    results = {bed: read_result(folder / run_name(*bed)) for bed in dict.fromkeys([*beds, *controls])}
    found = []
    for bed, control in zip(beds, controls):
        if (result := results[bed]) is not None:
            found.append(judge(bed[0], result, results[control] if control != bed else None))
    return found


def is_done(folder: Path, bed: Bed) -> bool:
    """Was it trained to its end?"""
    return (folder / run_name(*bed) / RESULT).exists()


def run_name(case: Case, seed: int) -> str:
    """The name of the run directory."""
    return f"{case.name}-{seed}"


def lines(judged: Sequence[Judged], cures: Sequence[Cure]) -> list[str]:
    """The counts and tables of what was judged and treated, in Markdown."""
    counts = [(name, f"{n} of {total}", f"{n / max(1, total):.0%}") for name, (n, total) in summary(judged).items()]
    treated = ["", "## Treated", "", *cures_table(cures)] if cures else []
    return [*markdown(("", "runs", ""), counts), "", *table(judged), *treated]


def beside_controls(folder: Path, beds: Sequence[Bed]) -> list[Pair]:
    """For each illness a sick run and its healthy control: what there is to see where nothing was treated."""
    found: dict[str, Pair] = {}
    for case, seed in beds:
        control = BY_NAME[case.control]
        if case.illness != HEALTHY and is_done(folder, (case, seed)) and is_done(folder, (control, seed)):
            pair = (case.illness, folder / run_name(case, seed), folder / run_name(control, seed))
            found.setdefault(case.illness, pair)
    return list(found.values())


def _work(
    one: Callable[[Task], str], beds: Sequence[Bed], folder: Path, jobs: int, note: Callable[[str], None]
) -> None:
    """Do one thing with each of them, several at once, each in a process with one thread."""
    if not beds:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(beds)), spawn, initializer=_alone) as pool:
        for told in pool.map(one, [(case, seed, folder) for case, seed in beds]):
            note(told)


def _alone() -> None:
    """One thread for each process, and no lines of the trainings' own progress."""
    import torch

    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the process


def _attend_one(work: Task) -> str:
    case, seed, folder = work
    path = folder / run_name(case, seed)
    with claimed(path) as mine:
        if not mine:
            return f"{path.name}: another process trains it"
        attend(case, seed, path)
    return f"{path.name}: done"


def _cure_one(work: Task) -> str:
    case, seed, folder = work
    both = ((case, seed), (MATCHED[case.name], seed))
    path, control = (folder / run_name(*each) for each in both)
    with claimed(path) as mine:
        if not mine or not all(is_done(folder, each) for each in both):
            return f"{path.name}: another process is at work on it or its control; give the command again"
        with trusted(True):  # the plants have dotted names
            cure(case, seed, path, control)
    return f"{path.name}: treated"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"clinic: {text!r} is not a regular expression: {error}") from error
