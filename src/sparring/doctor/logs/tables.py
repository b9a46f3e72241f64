"""Reads logs of other programs: tables with many spellings of column names, and any common delimiter."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.base.errors import UserError, shortened

ALIASES = {  # lower case, with _ for all other characters; the first that a log has counts
    "step": "step steps global_step iteration iterations iter iters it n_iter batch batches i_batch batch_idx epoch "
    "epochs",
    "d_loss": "d_loss loss_d dloss lossd errd err_d d_error discriminator_loss loss_discriminator disc_loss loss_disc "
    "critic_loss loss_critic c_loss loss_c netd_loss d_total_loss total_d_loss loss_dis dis_loss train_d_loss d",
    "g_loss": "g_loss loss_g gloss lossg errg err_g g_error generator_loss loss_generator gen_loss loss_gen netg_loss "
    "g_total_loss total_g_loss gan_loss train_g_loss g",
    "d_real": "d_real d_x dx real_score score_real real_scores d_real_mean logit_real real_logit real_logits p_real "
    "real_output d_of_x prob_real real_prob",
    "d_fake": "d_fake d_g_z d_g_z1 d_gz dgz fake_score score_fake fake_scores d_fake_mean logit_fake fake_logit "
    "fake_logits p_fake fake_output prob_fake fake_prob",
    "accuracy": "accuracy acc d_acc d_accuracy acc_d accuracy_d disc_acc disc_accuracy discriminator_accuracy",
    "g_gradient": "g_gradient g_grad grad_g g_grad_norm grad_norm_g gradient_generator g_gradient_norm gradient_g "
    "grad_generator generator_grad_norm gradnorm_g g_gradnorm gen_grad_norm",
    "d_gradient": "d_gradient d_grad grad_d d_grad_norm grad_norm_d gradient_discriminator d_gradient_norm gradient_d "
    "grad_discriminator discriminator_grad_norm gradnorm_d d_gradnorm disc_grad_norm critic_grad_norm",
    "d_loss_real": "d_loss_real loss_d_real d_real_loss errd_real loss_real real_loss",
    "d_loss_fake": "d_loss_fake loss_d_fake d_fake_loss errd_fake loss_fake fake_loss",
    "epoch": "epoch epochs",
}
WANTED = "step (or iteration, epoch, batch), d_loss, g_loss; optional: d_real, d_fake, accuracy, g_grad, d_grad"
PARTS = ("d_loss_real", "d_loss_fake")  # their sum replaces a missing d_loss
DELIMITERS = (",", ";", "\t")

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The recognised columns of a log.

    Attributes:
        steps: The step of each row, ascending; repeated only where the log counts epochs.
        columns: Values by name in `ALIASES`, without the step; None for an empty cell.
        names: The names of these columns in the file.
    """

    steps: tuple[float, ...]
    columns: Mapping[str, tuple[float | None, ...]]
    names: Mapping[str, str]


def read_table(path: Path) -> Table:
    """Read a log: text with a header row and commas, semicolons or tabs as delimiters; or JSON lines (`.jsonl`).

    Raises:
        UserError: The file cannot be read, has no step or no loss, or a cell of a recognised column is not a number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"cannot read {path}: {why}; give the .csv or .jsonl log of a training") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start}); save it as CSV in UTF-8") from error
    lines = path.suffix.lower() in (".jsonl", ".ndjson")
    found, records = _json_lines(path, text) if lines else _cells(path, text)
    names = _recognised(found)
    has_loss = any(wanted <= set(names) for wanted in ({"d_loss"}, {"g_loss"}, set(PARTS)))
    if "step" not in names or not has_loss:
        missing = "step" if "step" not in names else "loss"
        columns = shortened(", ".join(found)) or "none"
        raise UserError(f"{path} has no {missing} column; its columns: {columns}; recognised: {WANTED}")
    losses = [own for name, own in names.items() if "loss" in name]
    return _table(path, names, [(n, row) for n, row in records if any(row.get(own) is not None for own in losses)])


def _recognised(found: Sequence[str]) -> dict[str, str]:
    """The names in a file by what they stand for."""
    plain = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in reversed(found)}
    known = {name: [plain[alias] for alias in aliases.split() if alias in plain] for name, aliases in ALIASES.items()}
    return {name: own[0] for name, own in known.items() if own}


def _cells(path: Path, text: str) -> tuple[list[str], list[tuple[int, Record]]]:
    """(column names, rows with their line numbers) of a table."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{path} is damaged ({error}); export it again") from error
    if not rows:
        raise UserError(f"{path} is empty; it needs a header row and rows of values: {WANTED}")
    names = [name.strip().lstrip("#").strip() for name in rows[0][1]]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise UserError(f"{path} has the column {repeated[0]!r} twice; rename one of them")
    found: list[tuple[int, Record]] = []
    for number, row in rows[1:]:
        if len(row) != len(names):
            if number == rows[-1][0] and len(row) < len(names):
                break  # the program was stopped while it wrote the last line
            raise UserError(f"{path}, line {number}: {len(row)} cells for {len(names)} columns; fix or remove the line")
        cells = [cell.strip().replace(",", ".") if delimiter == ";" else cell.strip() for cell in row]
        found.append((number, {name: cell or None for name, cell in zip(names, cells)}))
    return names, found


def _json_lines(path: Path, text: str) -> tuple[list[str], list[tuple[int, Record]]]:
    """(all names, objects with their line numbers) of a file of JSON lines."""
    rows: list[tuple[int, Record]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
        except ValueError as error:
            if number == len(lines) and not text.endswith("\n"):
                break  # the program was stopped while it wrote the last line
            raise UserError(f"{path}, line {number} is damaged ({error}); remove the line") from error
        rows.append((number, row))
    if not rows:
        raise UserError(f"{path} is empty; it needs one JSON object per line, with {WANTED}")
    return list(dict.fromkeys(name for _, row in rows for name in row)), rows


def _table(path: Path, names: Mapping[str, str], records: Sequence[tuple[int, Record]]) -> Table:
    """The values of the recognised columns, in the order of their steps."""
    rows = [{name: _number(path, line, own, row.get(own)) for name, own in names.items()} for line, row in records]
    for (line, _), row in zip(records, rows):
        if row["step"] is None or not math.isfinite(row["step"]):
            raise UserError(f"{path}, line {line}: {names['step']!r} has no step; write a number, or remove the line")
    rows = _in_order(rows, counts_epochs=names["step"] == names.get("epoch"))
    if "d_loss" not in names and set(PARTS) <= set(names):
        names = {**names, "d_loss": " + ".join(names[part] for part in PARTS)}
        for row in rows:
            first, second = (row[part] for part in PARTS)
            row["d_loss"] = None if first is None or second is None else first + second
    kept = [name for name in names if name not in ("step", "epoch", *PARTS)]
    columns = {name: tuple(row[name] for row in rows) for name in kept}
    return Table(tuple(row["step"] or 0.0 for row in rows), columns, {name: names[name] for name in kept})


def _in_order(rows: list[dict[str, float | None]], counts_epochs: bool) -> list[dict[str, float | None]]:
    """Rows in the order of their steps.

    Of rows with the same step the last one counts, since a training may resume from an earlier step. Epochs may have
    several rows. Batches that are counted from 0 in each epoch are numbered consecutively.
    """
    if counts_epochs:
        return sorted(rows, key=_step)
    if all(row.get("epoch") is not None for row in rows):
        most = max(map(_step, rows), default=0) + 1
        falls = [(row, later) for row, later in zip(rows, rows[1:]) if _step(later) <= _step(row)]
        if falls and all(later["epoch"] != row["epoch"] for row, later in falls):
            rows = [{**row, "step": (row["epoch"] or 0) * most + _step(row)} for row in rows]
    return sorted({row["step"]: row for row in rows}.values(), key=_step)


def _step(row: Mapping[str, float | None]) -> float:
    return row["step"] or 0


def _number(path: Path, line: int, name: str, cell: object) -> float | None:
    """The value of a cell; None where it is empty."""
    if cell is None or (isinstance(cell, str) and cell.lower() in ("", "none", "null", "-")):
        return None
    try:
        if isinstance(cell, (bool, list, dict)):
            raise ValueError(cell)
        return float(cell)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        shown = shortened(repr(cell), 60)
        raise UserError(f"{path}, line {line}: {name} is {shown}; it must be a number, or empty") from None
