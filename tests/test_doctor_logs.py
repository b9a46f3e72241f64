"""Findings from logs of other programs: written by small trainings here, and by hand."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.load import load_data
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.doctor.logs.losses import can_show, cannot_show, diagnose_log, read_log
from sparring.doctor.logs.tables import ALIASES, read_table


def write(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([names, *rows])
    return path


def small(inputs: int, outputs: int) -> nn.Module:
    layers = (nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs))
    return nn.Sequential(*layers)


def train(path: Path, saturating: bool, n_critic: int, r1: float, steps: int) -> Path:
    """Train by a hand-written loop that logs its losses."""
    torch.manual_seed(0)
    data = load_data("ring")
    points = data.form.to_input(data.samples)
    generator, discriminator = small(4, 2), small(2, 1)
    optimizers = [
        torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.99)) for player in (generator, discriminator)
    ]
    rows = []
    for step in range(steps):
        for _ in range(n_critic):
            batch = points[torch.randint(len(points), (64,))].requires_grad_()
            real, fake = discriminator(batch), discriminator(generator(torch.randn(64, 4)).detach())
            loss = F.softplus(-real).mean() + F.softplus(fake).mean()
            (slope,) = torch.autograd.grad(real.sum(), batch, create_graph=True)
            optimizers[1].zero_grad()
            (loss + r1 * slope.square().sum(1).mean()).backward()
            optimizers[1].step()
        fake_logits: Tensor = discriminator(generator(torch.randn(64, 4)))
        own = (-F.softplus(fake_logits) if saturating else F.softplus(-fake_logits)).mean()
        optimizers[0].zero_grad()
        own.backward()
        optimizers[0].step()
        rows.append((step, loss.item(), own.item(), real.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()))
    return write(path, ("Iter", "Loss_D", "Loss_G", "D(x)", "D(G(z))"), rows)


def names(path: Path) -> list[str]:
    return [finding.failure for finding in diagnose_log(read_log(path))]


def test_losses_of_a_healthy_training_show_no_failure(tmp_path: Path) -> None:
    path = train(tmp_path / "log.csv", saturating=False, n_critic=1, r1=0.05, steps=400)
    assert names(path) == ["no-sign"]
    assert can_show(read_log(path)) == ["divergence", "vanishing-gradient"]


@pytest.mark.slow
def test_a_saturated_generator_loss_is_found(tmp_path: Path) -> None:
    path = train(tmp_path / "log.csv", saturating=True, n_critic=10, r1=0.0, steps=400)
    (found,) = diagnose_log(read_log(path))
    assert found.failure == "vanishing-gradient"
    assert 50 < found.since_step < 400
    assert {evidence.name for evidence in found.evidence} == {"Loss_D", "Loss_G", "D(x)", "D(G(z))"}
    bare = read_table(path).columns
    rows = list(enumerate(zip(bare["d_loss"], bare["g_loss"])))
    assert names(write(tmp_path / "bare.csv", ("epoch", "d", "g"), [(i, *row) for i, row in rows])) == [found.failure]


COUNT = 100
EQUILIBRIUM = {"step": 1, "d_loss": 1.38, "g_loss": 0.7}


def written(path: Path, count: int = COUNT, onset: int = 40, **changes: Callable[[int], object] | float) -> Path:
    """Rows at equilibrium, changed from row `onset` on; a change is a value or a function of the row."""
    columns = list(dict.fromkeys([*EQUILIBRIUM, *changes]))
    rows = []
    for i in range(count):
        row: dict[str, object] = {
            **EQUILIBRIUM,
            "step": 10 * i,
            "g_grad": 1.0,
            "d_real": 0.5,
            "d_fake": 0.5,
            "acc": 0.5,
        }
        if i >= onset:
            row |= {name: value(i) if callable(value) else value for name, value in changes.items()}
        rows.append([row[name] for name in columns])
    return write(path, columns, rows)


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("no-sign", {}),
        ("no-sign", {"d_loss": 0.4, "g_loss": 3.0}),
        ("no-sign", {"d_loss": 0.01}),  # G's loss contradicts it
        ("no-sign", {"g_loss": 9.0}),  # D's loss contradicts it
        ("no-sign", {"d_loss": 0.01, "g_loss": 9.0, "d_fake": 0.3, "d_real": 0.99}),
        ("no-sign", {"d_loss": 0.01, "g_loss": 9.0, "acc": 0.7}),
        ("no-sign", {"d_loss": 0.01, "g_loss": 9.0, "g_grad": 0.9}),  # its gradient has not vanished
        ("no-sign", {"acc": 0.5}),
        ("no-sign", {"d_loss": -50.0, "g_loss": 100.0}),  # a Wasserstein critic
        ("no-sign", {"g_loss": 100.0, "d_loss": 0.4}),  # a clamped cross-entropy
        ("vanishing-gradient", {"d_loss": 0.01, "g_loss": 9.0}),
        ("vanishing-gradient", {"d_loss": 0.01, "g_loss": 9.0, "acc": 0.99, "d_real": 0.99, "d_fake": 0.001}),
        ("vanishing-gradient", {"d_loss": 0.01, "g_loss": 9.0, "acc": 99}),
        ("vanishing-gradient", {"d_loss": 0.1, "g_loss": 3.0, "g_grad": 1e-4}),
        ("vanishing-gradient", {"d_loss": 0.01, "g_loss": 9.0, "d_real": 8.0, "d_fake": -9.0}),  # logits
        ("no-sign", {"d_loss": 0.01, "g_loss": 9.0, "d_real": 2.0, "d_fake": 0.5}),
        ("divergence", {"d_loss": 1e5}),
        ("divergence", {"g_loss": lambda i: -(1.3**i)}),
        ("divergence", {"g_grad": 1e6}),
        ("divergence", {"d_loss": math.nan}),
        ("divergence", {"g_loss": math.inf}),
        ("divergence", {"d_loss": 1e5, "g_loss": math.nan}),
    ],
)
def test_rows_by_hand(expected: str, changes: dict[str, float], tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", **changes)
    (found,) = diagnose_log(read_log(path))
    assert found.failure == expected
    if expected != "no-sign":
        assert 390 <= found.since_step <= 600  # half of a stretch of 20 rows, and most of it where growth is slow
        assert found.evidence
        assert found.why


@pytest.mark.parametrize("changes", [{"d_loss": 0.01, "g_loss": 9.0}, {"d_loss": 1e6}, {"g_grad": 1e9}])
def test_a_single_row_is_no_failure(changes: dict[str, float], tmp_path: Path) -> None:
    assert names(written(tmp_path / "log.csv", onset=COUNT - 1, **changes)) == ["no-sign"]


def test_nan_for_a_missing_value_is_no_failure(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", onset=0, g_loss=lambda i: 0.7 if i % 5 == 2 else math.nan)
    assert names(path) == ["no-sign"]
    empty = written(tmp_path / "empty.csv", onset=0, g_loss=lambda i: 0.7 if i % 5 == 2 else "")
    assert names(empty) == ["no-sign"]
    (found,) = diagnose_log(read_log(written(tmp_path / "last.csv", onset=COUNT - 1, g_loss=math.nan)))
    assert (found.failure, found.since_step) == ("divergence", 990)  # a program that stopped there


def test_columns_decide_what_a_log_can_show(tmp_path: Path) -> None:
    def shown(**columns: float) -> tuple[list[str], dict[str, str]]:
        path = write(tmp_path / "log.csv", ["step", *columns], [[i, *columns.values()] for i in range(30)])
        log = read_log(path)
        assert set(can_show(log)) | set(cannot_show(log)) == set(FAILURES)
        return can_show(log), cannot_show(log)

    assert shown(d_loss=1.3, g_loss=0.7)[0] == ["divergence", "vanishing-gradient"]
    assert "negative" in shown(d_loss=-3.0, g_loss=3.0)[1]["vanishing-gradient"]
    assert "nothing of G" in shown(d_loss=1.0)[1]["vanishing-gradient"]
    assert "was never above" in shown(d_loss=0.01, g_loss=0.01)[1]["vanishing-gradient"]
    assert "neither D's loss" in shown(g_loss=0.7)[1]["vanishing-gradient"]
    assert shown(g_loss=0.7, d_real=0.6, d_fake=0.4)[0] == ["divergence", "vanishing-gradient"]
    assert "one half" in shown(d_loss=1.3, g_loss=0.7, accuracy=0.5)[1]["discriminator-too-weak"]


def test_few_rows_are_too_early(tmp_path: Path) -> None:
    assert names(written(tmp_path / "log.csv", count=11, onset=0, d_loss=0.01, g_loss=9.0)) == ["too-early"]
    assert names(written(tmp_path / "log.csv", count=12, onset=6, d_loss=0.01, g_loss=9.0)) == ["vanishing-gradient"]
    assert names(write(tmp_path / "log.csv", list(EQUILIBRIUM), [])) == ["too-early"]


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_tables_of_many_kinds_are_read(tmp_path: Path) -> None:
    def read(
        content: str | bytes, name: str = "log.csv"
    ) -> tuple[tuple[float, ...], dict[str, tuple[float | None, ...]]]:
        table = read_table(text(tmp_path / name, content))
        return table.steps, dict(table.columns)

    plain = ((1.0, 2.0), {"d_loss": (1.5, 0.5), "g_loss": (2.0, None)})
    assert read("step,d_loss,g_loss\n1,1.5,2\n2,0.5,\n") == plain
    assert read("\ufeffStep;D Loss;G-Loss\r\n1;1,5;2\r\n2;0,5;\r\n") == plain  # as spreadsheets write it
    assert read_table(text(tmp_path / "log.csv", "\ufeffD Loss,Step\n1,1\n")).names == {"d_loss": "D Loss"}
    assert read("# Iter\tLoss_D\tlossG\n1\t1.5\t2\n\n2\t0.5\tNone\n") == plain
    assert read('"iteration","loss/discriminator","errG","note"\n1,1.5,2,"a, b"\n2,.5,"",x\n') == plain
    assert read("step,d_loss,g_loss\n2,0.5,\n1,1.5,2\n") == plain  # newest first
    assert read("step,d_loss,g_loss\n1,9,9\n2,9,9\n1,1.5,2\n2,0.5,\n") == plain  # it resumed from an earlier step
    assert read("step,d_loss,g_loss\n1,1.5,2\n2,0.5,\n3,0.") == plain  # killed while writing
    assert read("step,d_loss_real,d_loss_fake,g_loss\n1,1,0.5,2\n2,0.25,.25,\n") == plain
    lines = (
        '{"step": 1, "d_loss": 1.5, "g_loss": 2, "what": [1]}\n{"step": 1, "event": "x"}\n{"step": 2, "d_loss": 0.5}\n'
    )
    assert read(lines, "log.jsonl") == plain
    assert read(lines + '{"step": 3, "d_lo', "log.jsonl") == plain
    assert read("epoch,batch,d_loss\n0,0,1\n0,1,2\n1,0,3\n1,1,4\n")[0] == (
        0,
        1,
        2,
        3,
    )  # batches are counted from 0 in each epoch
    assert read("epoch,d_loss\n0,1\n0,2\n1,3\n1,4\n") == ((0, 0, 1, 1), {"d_loss": (1, 2, 3, 4)})


def test_a_runs_own_log_is_read(tiny_run: Path) -> None:
    table = read_table(tiny_run / "log.jsonl")
    assert set(table.columns) == set(ALIASES) - {"step", "epoch", "d_loss_real", "d_loss_fake"}
    assert names(tiny_run / "log.jsonl") == ["too-early"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs a header row"),
        ("\n \n", "is empty"),
        ("step,d_loss\n1,abc\n", r"line 2: d_loss is 'abc'; it must be a number, or empty"),
        ("step,d_loss\n1,1\n,1\n", r"line 3: 'step' has no step; write a number"),
        ("step,d_loss\nnan,1\n", r"line 2: 'step' has no step"),
        ("d_loss,g_loss\n1,1\n", r"no step column; its columns: d_loss, g_loss; recognised: step \(or iteration"),
        ("step,loss,val\n1,1,1\n", "no loss column; its columns: step, loss, val; recognised:"),
        ("1,0.5,0.5\n2,0.5,0.5\n", "has the column '0.5' twice"),
        ("1,0.5,0.6\n2,0.5,0.5\n", "no step column; its columns: 1, 0.5, 0.6"),
        ("step,d_loss,d_loss\n1,1,1\n", "has the column 'd_loss' twice; rename"),
        ("step,d_loss\n1,1,1\n2,2\n", "line 2: 3 cells for 2 columns"),
        ("step,d_loss\n1\n2,2\n", "line 2: 1 cells for 2 columns"),
        ("step,d_loss\n1,1\n".encode("utf-16"), "not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text in UTF-8"),
    ],
)
def test_unreadable_tables_are_refused_with_a_reason(
    content: str | bytes, message: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = text(tmp_path / "log.csv", content)
    with pytest.raises(UserError, match=message):
        read_table(path)
    refused("doctor", "--csv", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs one JSON object per line"),
        ('{"step": 1}\nnonsense\n', "line 2 is damaged"),
        ("[1, 2]\n", "line 1 is damaged"),
        ('{"step": 1, "loss": 2}\n', "no loss column; its columns: step, loss"),
        ('{"step": 1, "d_loss": [2]}\n', r"line 1: d_loss is \[2\]"),
        ('{"step": 1, "d_loss": true}\n', "line 1: d_loss is True"),
    ],
)
def test_unreadable_json_lines_are_refused_with_a_reason(
    content: str, message: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = text(tmp_path / "log.jsonl", content)
    with pytest.raises(UserError, match=message):
        read_table(path)
    refused("doctor", "--csv", path)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], refused: Callable[..., str]) -> None:
    healthy = written(tmp_path / "even.csv")
    assert main(["doctor", "--csv", str(healthy)]) == 0
    printed = capfd.readouterr().out
    assert "Nothing in this log indicates a failure" in printed
    assert "this log can show: divergence, vanishing-gradient" in printed
    assert "mode-collapse: losses look the same" in printed
    assert "sparring.doctor.Monitor" in printed
    won = written(tmp_path / "won.csv", d_loss=0.01, g_loss=9.0)
    assert main(["doctor", "--csv", str(won)]) == 1
    printed = capfd.readouterr().out
    assert "vanishing-gradient since step" in printed
    assert "relativistic pairing" in printed
    assert main(["doctor", "--csv", str(won), "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert set(found) == {"healthy", "findings", "can_show", "cannot_show"}
    assert found["healthy"] is False
    assert set(found["findings"][0]) == {"failure", "since_step", "confidence", "evidence", "why", "fixes"}
    assert "mode-collapse" in found["cannot_show"]
    broken = written(tmp_path / "nan.csv", d_loss=math.nan)
    assert main(["doctor", "--csv", str(broken), "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["findings"][0]["evidence"][0]["value"] is None
    assert "needs either a run or a log" in refused("doctor")
    assert "needs either a run or a log" in refused("doctor", tmp_path, "--csv", won)
    assert "cannot read" in refused("doctor", "--csv", tmp_path / "nothing.csv")
    assert "cannot read" in refused("doctor", "--csv", tmp_path)
