"""Older versions of torch: the same results without the newer functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import Parameter

from sparring.base import compat
from sparring.game.optimizers import SGD, Adam, AdamW, RMSprop

GRADIENTS = [torch.tensor([[3.0, 0.0]]), torch.tensor([0.0, 4.0]), torch.tensor(12.0)]


@pytest.mark.parametrize("newer", [True, False])
def test_the_total_norm(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not newer:
        monkeypatch.delattr(torch.nn.utils, "get_total_norm", raising=False)
    assert compat.total_norm(iter(GRADIENTS)).item() == 13
    assert compat.total_norm([]).item() == 0
    assert compat.total_norm([*GRADIENTS, torch.tensor([float("nan")])]).isnan()


@pytest.mark.parametrize(
    ("flags", "units"),
    [("fpu avx512_bf16 amx_bf16", ["amx_bf16", "avx512_bf16"]), ("fpu avx512_bf16_more", []), ("", []), (None, [])],
)
def test_bf16_units_from_cpuinfo(
    flags: str | None, units: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(compat, "PROCESSOR", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert compat.bf16_units() == units


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities") or not compat.PROCESSOR.exists(), reason="one list only")
def test_torch_and_cpuinfo_list_the_same_units(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = compat.bf16_units()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert compat.bf16_units() == listed


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
def test_torch_without_fused_kernels_trains_without_them(
    kind: type[SGD | Adam | AdamW | RMSprop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "VERSION", (2, 3))
    weight = Parameter(torch.tensor([1.0, -1.0]))
    optimizer = kind(lr=0.1)([weight])
    (weight**2).sum().backward()
    optimizer.step()
    assert not optimizer.defaults.get("fused")
    assert (weight.abs() < 1).all()
