"""Training samples streamed from shards: the format, the order, the reading ahead, failures, and training."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import tarfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, without_time
from PIL import Image
from torch import Tensor

import sparring
from sparring.base.components import trusted
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data import Data, Pairs, load_data, load_held_out
from sparring.data.sources import archives, records
from sparring.data.stream import load, names, shards, stream
from sparring.data.stream.names import is_stream, shard_names
from sparring.data.stream.reader import Reader
from sparring.recipe import load_recipe
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.training.feed import Feed
from sparring.training.threads import Threads

Refused = Callable[..., str]
Members = dict[str, bytes]


def png(number: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> bytes:
    """An image whose first two pixels hold its number."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[0, :2] = number % 256, number // 256
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def numbers(batch: dict[str, Tensor] | Data) -> list[int]:
    real = batch.samples if isinstance(batch, Data) else batch["real"]
    return (real[:, 0, 0, 0].int() + 256 * real[:, 0, 0, 1].int()).tolist()


def packed(members: Members, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write(folder: Path, sizes: Sequence[int], classes: int = 0, broken: Sequence[int] = ()) -> str:
    """Write shards of these numbers of samples, numbered throughout; return their name."""
    number = 0
    for shard, size in enumerate(sizes):
        members: Members = {}
        for _ in range(size):
            members |= {f"{number:05}.cls": str(number % classes).encode()} if classes else {}
            members[f"{number:05}.png"] = b"torn" if number in broken else png(number)
            members[f"{number:05}.json"] = b"{}"
            number += 1
        (folder / f"{shard:03}.tar").write_bytes(packed(members))
    return f"{folder}/{{000..{len(sizes) - 1:03}}}.tar"


def reader_of(spec: str, seed: int = 0, rank: int = 0, workers: int = 1, **options: Any) -> Reader:
    data = load_data(spec, **options)
    assert data.stream is not None
    return data.stream.reader(seed, rank, workers)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited before further attempts; nothing waits."""
    found: list[float] = []
    monkeypatch.setattr("sparring.data.stream.shards.time.sleep", found.append)
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that were opened."""
    found: list[str] = []
    real = shards._opened

    def noted(name: str) -> Any:
        found.append(Path(name).name)
        return real(name)

    monkeypatch.setattr(shards, "_opened", noted)
    return found


# names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a/{08..11}.tar", ["a/08.tar", "a/09.tar", "a/10.tar", "a/11.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..010..2}", ["{0..010..2}"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ("{x/{0..1},y}", ["x/0", "x/1", "y"]),
        ("{a,}b", ["ab", "b"]),
        ("pipe:awk '{print}' {1..2}", ["pipe:awk '{print}' 1", "pipe:awk '{print}' 2"]),
        ("{a", ["{a"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces(text: str, found: list[str]) -> None:
    assert shard_names(text) == found


def test_what_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "{0..1}.tar"
    assert is_stream(str(path))
    path.write_bytes(packed({"0.png": png(7), "1.png": png(8)}))
    assert not is_stream(str(path))
    assert numbers(load_data(str(path))) == [7, 8]
    assert [is_stream(f"{start}x") for start in ("pipe:", "http://", "https://", "hub:", "")] == [True] * 3 + [
        False
    ] * 2


def test_too_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST", 1000)
    with pytest.raises(UserError, match="more than 1,000 shards; give fewer"):
        load_data("a-{0..99999999999}.tar")


# the format


def test_a_sample_is_all_consecutive_members_with_one_name_up_to_the_first_dot(tmp_path: Path) -> None:
    members = {
        "meta.json": b"{}",
        "a/1.txt": b"a caption",
        "a/1.cls": b"0",
        "a/1.PNG": png(1),
        "a/1.jpg": b"a second image of a sample is ignored",
        "./a/2.mask.png": b"its ending is mask.png",
        "./a/2.png": png(2),
        "./a/2.cls": b" 1\n",
        "b/2.png": png(3),
        "b/2.cls": b"0",
        "._b/3.png": png(4),
        "._b/3.cls": b"1",
        "b/._3.png": b"of macOS",
        "no dot": b"",
    }
    archive = io.BytesIO(packed(members))
    with tarfile.open(fileobj=archive, mode="a") as tar:
        link = tarfile.TarInfo("b/5.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret.png"
        tar.addfile(link)
        folder = tarfile.TarInfo("b/6.png")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    for ending, content in ((".tar", archive.getvalue()), (".tar.gz", gzip.compress(archive.getvalue()))):
        (tmp_path / f"0{ending}").write_bytes(content)
        spec = f"{tmp_path}/{{0..0}}{ending}"
        data = load_data(spec)
        assert numbers(data) == [1, 2, 3, 4]
        assert data.labels is not None
        assert data.labels.tolist() == [0, 1, 0, 1]
        batch = reader_of(spec).take(0, 4)
        assert sorted(zip(numbers(batch), batch["label"].tolist())) == [(1, 0), (2, 1), (3, 0), (4, 1)]


def test_labels_are_names_or_listed_numbers(tmp_path: Path) -> None:
    members = {"0.png": png(0), "0.cls": b"dog", "1.png": png(1), "1.cls": b"cat"}
    (tmp_path / "0.tar").write_bytes(packed(members))
    data = load_data(f"{tmp_path}/{{0..0}}.tar")
    assert data.form.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0]
    (tmp_path / "classes.txt").write_text("bird\ndog\ncat\n")
    many = load_data(f"{tmp_path}/{{0..0}}.tar")
    assert [len(many), many.form.counts] == [2, (0, 1, 1)], "more classes than samples"
    (tmp_path / "1.tar").write_bytes(packed({"2.png": png(2), "2.cls": b"0"}))
    spec = f"{tmp_path}/{{0..1}}.tar"
    assert load_data(spec).form.classes == ("bird", "dog", "cat")
    batch = reader_of(spec).take(0, 3)
    assert sorted(zip(numbers(batch), batch["label"].tolist())) == [(0, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    ("label", "problem"),
    [(b"7", "the label 7, none of the 2 classes; .*classes.txt"), (None, "no label.*label all samples or none")],
)
def test_a_label_that_the_first_samples_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: bytes | None, problem: str
) -> None:
    spec = write(tmp_path, [20, 4], classes=2)
    later = {"9.png": png(9)} | ({} if label is None else {"9.cls": label})
    (tmp_path / "001.tar").write_bytes(packed(later))
    monkeypatch.setattr(load, "REFERENCE", 20)
    with pytest.raises(UserError, match=f"001.tar/9.png has {problem}"):
        reader_of(spec).take(0, 21)
    monkeypatch.setattr(load, "FEWEST", 11)
    with pytest.raises(UserError, match="the first 20 samples .* fewer than 11 samples.*classes.txt"):
        load_data(spec)


def test_sizes_and_colours_are_those_of_the_first_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.tar").write_bytes(packed({"0.png": png(0)}))
    (tmp_path / "1.tar").write_bytes(packed({"1.png": png(1, "RGB", (20, 10))}))
    spec = f"{tmp_path}/{{0..1}}.tar"
    with pytest.raises(UserError, match="add --size 64"):
        load_data(spec)
    monkeypatch.setattr(load, "REFERENCE", 1)
    with pytest.raises(UserError, match=r"1.tar/1.png is 20x10, and the first samples are 8x8; add --size 8x8"):
        reader_of(spec).take(0, 2)
    for fit in ("crop", "pad", "stretch"):
        assert reader_of(spec, size=8, fit=fit).take(0, 2)["real"].shape == (2, 1, 8, 8)


# the order


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 samples."""
    monkeypatch.setattr(stream, "SAMPLES", 7)


SIZES = (5, 1, 12, 0, 9)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("rank", "workers", "cores"), [(0, 1, 1), (1, 2, 3), (2, 3, 1), (3, 7, 3)])
def test_a_position_holds_the_same_sample_however_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, workers: int, cores: int
) -> None:
    monkeypatch.setattr(records, "available_cores", lambda: cores)
    spec = write(tmp_path, SIZES[:3] if workers == 2 else SIZES, classes=3)
    whole = reader_of(spec, 3, rank, workers).take(0, 120)
    assert all(number % 3 == label for number, label in zip(numbers(whole), whole["label"].tolist()))
    parts = reader_of(spec, 3, rank, workers)
    position = 0
    for count in (1, 2, 30, 7, 7, 50, 23):
        part = parts.take(position, count)
        assert torch.equal(part["real"], whole["real"][position : position + count])
        assert torch.equal(part["label"], whole["label"][position : position + count])
        position += count
    for position in (113, 1, 6, 7, 8, 26, 27, 28, 53, 90, 0):
        count = min(11, 120 - position)
        for again in (parts, reader_of(spec, 3, rank, workers)):
            assert torch.equal(again.take(position, count)["real"], whole["real"][position : position + count])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("workers", [1, 2, 4, 5, 6, 9])
def test_together_the_workers_see_each_sample_of_an_epoch_once(tmp_path: Path, workers: int) -> None:
    spec = write(tmp_path, [6, 3, 12, 4, 9])
    orders = []
    shuffled = [[shard.name for shard in reader_of(spec).order.part(epoch)] for epoch in range(3)]
    assert shuffled[0] != shuffled[1] != shuffled[2]
    for seed in (0, 1):
        readers = [reader_of(spec, seed, rank, workers) for rank in range(workers)]
        ends = [0] * workers
        for epoch in range(3):
            seen = []
            for rank, each in enumerate(readers):
                held = sum(each.order.counts.count(shard) for shard in each.order.part(epoch))
                length = held if workers <= 5 else len(range(rank, 34, workers))
                seen.append(numbers(each.take(ends[rank], length)))
                ends[rank] += length
            assert sorted(chain.from_iterable(seen)) == list(range(34))
            orders.append(seen)
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i]), "epochs and seeds have orders of their own"


def test_samples_of_each_block_are_shuffled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SAMPLES", 20)
    found = numbers(reader_of(write(tmp_path, [40])).take(0, 80))
    blocks = [[number - 20 * (i % 2) for number in found[20 * i :][:20]] for i in range(4)]  # two for each epoch
    assert all(sorted(block) == list(range(20)) for block in blocks)
    assert all(a != b for i, a in enumerate([list(range(20)), *blocks]) for b in blocks[i:])


def test_more_workers_than_samples(tmp_path: Path) -> None:
    spec = write(tmp_path, [2])
    assert reader_of(spec, 0, 1, 3).take(0, 3)["real"].shape[0] == 3
    with pytest.raises(UserError, match="worker 2 of 3 gets no sample.*use fewer workers"):
        reader_of(spec, 0, 2, 3).take(0, 1)
    with pytest.raises(UserError, match="worker 2 of 3 gets no sample.*use fewer workers"):
        reader_of(spec, 0, 2, 3).take(5, 1)


# resuming without reading what lies before


@pytest.mark.usefixtures("small_blocks")
def test_a_resumed_reader_decodes_one_block_and_opens_no_shard_before_it(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path, [21] * 4)
    whole = reader_of(spec).take(0, 84 + 60)
    data = load_data(spec)
    decoded: list[str] = []
    decode = records.decode

    def noted(content: Any, target: Any) -> Any:
        decoded.append("")
        return decode(content, target)

    monkeypatch.setattr(records, "decode", noted)
    opened.clear()
    assert data.stream is not None
    again = data.stream.reader(0)
    part = again.take(84 + 45, 4)  # of the second epoch: the third shard, its first block
    assert torch.equal(part["real"], whole["real"][84 + 45 : 84 + 49])
    assert opened == [Path(again.order.part(1)[2].name).name]
    assert len(decoded) <= 3 * 7, "its block, the next one, and what the threads began of the one after it"


def test_counts_are_kept_and_a_changed_shard_is_named(tmp_path: Path, opened: list[str]) -> None:
    spec = write(tmp_path, [4, 5])
    reader_of(spec).take(0, 10)  # reads into the second epoch, so both shards were read to their end
    (kept,) = (tmp_path / "cache" / "sparring" / "shards").iterdir()
    lines = kept.read_text().splitlines()
    assert sorted(json.loads(line)[2] for line in lines) == [4, 5]
    kept.write_text("\n".join([*lines, lines[0][:9]]))  # a torn line
    opened.clear()
    reader_of(spec).order.locate(1000)
    assert "000.tar" not in opened[1:], "counted again"
    kept.write_text("\n".join(line.replace(" 5]", " 6]") for line in lines))
    with pytest.raises(
        UserError, match=f"001.tar holds 5 samples now, and held 6 before; restore it, or remove {kept}"
    ):
        reader_of(spec).take(0, 10)


def test_a_replaced_local_shard_is_counted_again(tmp_path: Path) -> None:
    spec = write(tmp_path, [4, 5])
    reader_of(spec).take(0, 10)
    write(tmp_path, [4, 7])
    assert sorted(numbers(reader_of(spec).take(0, 11))) == list(range(11))


def test_a_cache_that_cannot_be_written_is_reported_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path, [4, 5])
    (tmp_path / "cache" / "sparring").mkdir(parents=True)
    (tmp_path / "cache" / "sparring" / "shards").write_text("a file")
    assert sorted(numbers(reader_of(spec).take(0, 9))) == list(range(9))
    reader_of(spec).order.locate(9)
    assert capfd.readouterr().err.count("Note: cannot write") == 2, "one for each reader"


# memory and the thread


def test_at_most_two_blocks_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0
    real = stream.Block

    def counted(*fields: Any) -> Any:
        nonlocal most
        made = real(*fields)
        alive.add(made)
        most = max(most, len(alive))
        return made

    monkeypatch.setattr(stream, "Block", counted)
    monkeypatch.setattr(stream, "BYTES", 5 * 64 + 63)  # 5 samples of 8x8
    each = reader_of(write(tmp_path, [30, 30]))
    assert each.size == 5
    for position in range(0, 130, 6):
        each.take(position, 6)
        time.sleep(0.02)  # lets the thread make as many as it may
        assert all(len(block) <= 5 and len(block.real) <= 5 for block in list(alive))
    assert most == 2


def test_the_thread_ends_with_the_reader(tmp_path: Path) -> None:
    before = threading.enumerate()
    each = reader_of(write(tmp_path, [30]))
    each.take(0, 5)
    each.take(70, 5)
    threads = [thread for thread in threading.enumerate() if thread.name == "shards" and thread not in before]
    assert threads
    del each
    gc.collect()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


# failures


@pytest.mark.usefixtures("small_blocks")
def test_another_sample_stands_in_for_one_that_cannot_be_decoded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = write(tmp_path, [30, 30], broken=(4, 50))
    data = load_data(spec)
    assert len(data) == 58
    assert [note.partition(": ")[0] for note in data.notes] == [
        f"left out {tmp_path}/000.tar/00004.png",
        f"left out {tmp_path}/001.tar/00050.png",
    ]
    each = reader_of(spec)
    with pytest.raises(UserError, match=r"1 of 7 images in .* cannot be read"):
        each.take(0, 60)


def test_few_samples_that_cannot_be_decoded_are_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path, [30, 30], broken=(0, 50))
    each = reader_of(spec)
    found = numbers(each.take(0, 60))
    assert len(set(found)) == 58
    assert not {0, 50} & set(found)
    note = "Note: 2 samples could not be read so far, and others stand in; left out"
    assert capfd.readouterr().err.count(note) == 1
    for epoch in (1, 2, 3):
        each.take(60 * epoch, 60)
    assert capfd.readouterr().err == "", "8 has as many digits as 2"
    each.take(240, 60)
    assert "Note: 10 samples" in capfd.readouterr().err
    assert numbers(reader_of(spec).take(17, 43)) == found[17:]


def test_a_block_of_samples_of_which_none_can_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path, [20, 1], broken=(20,))
    monkeypatch.setattr(stream, "SAMPLES", 10)
    each = next(each for each in (reader_of(spec, seed) for seed in range(100)) if "001" in each.order.part(0)[1].name)
    found = numbers(each.take(0, 21))
    assert [sorted(found[:20]), found[20]] == [list(range(20)), 0], "the first sample of the set stands in"


DAMAGE = {
    "inside a member": (lambda whole: whole[:2580], r"at member 00001.png: unexpected end of data"),
    "between members": (lambda whole: whole[: 3 * 1024], r"at byte 3,072 without the mark of its end"),
    "a header": (lambda whole: whole[:3072] + b"x" * 512 + whole[3584:], "without the mark of its end"),
    "no archive": (lambda whole: b"no archive" * 100, "."),
    "empty": (lambda whole: b"", "empty file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_tried_again_and_named(tmp_path: Path, waits: list[float], kind: str) -> None:
    spec = write(tmp_path, [10, 10, 10])
    each = reader_of(spec)
    damaged, problem = DAMAGE[kind]
    last = Path(each.order.part(0)[2].name)
    last.write_bytes(damaged(last.read_bytes()))
    for _ in range(2):  # the error does not end the reader
        with pytest.raises(UserError, match=f"shard .*{last.name} cannot be read in . attempts .*{problem}"):
            each.take(0, 30)
    assert waits == [1, 4, 16] * 2
    with pytest.raises(UserError, match="cannot be read in 4 attempts"):
        load_data(spec)


def test_a_missing_shard_is_reported_at_once(tmp_path: Path, refused: Refused, waits: list[float]) -> None:
    write(tmp_path, [3, 3])
    message = refused("data", f"{tmp_path}/{{000..002}}.tar")
    assert "002.tar cannot be read (No such file or directory); correct the path or the range" in message
    assert waits == []


@pytest.mark.parametrize("limit", ["LARGEST", "MOST"])
def test_limits_of_archives_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, waits: list[float]
) -> None:
    spec = write(tmp_path, [3])
    each = reader_of(spec)
    monkeypatch.setattr(archives, limit, {"LARGEST": 50, "MOST": 2}[limit])
    with pytest.raises(UserError, match=r"are allowed|more than 2 members"):
        each.take(0, 1)
    assert waits == []


def test_a_header_cannot_request_a_huge_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "0.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(UserError, match="'a header' unpacks to .* at most 256 MiB"):
        load_data(f"{tmp_path}/{{0..0}}.tar")


# addresses and commands


class Server:
    """A web server of a folder's files on this machine.

    Attributes:
        faults: what answers the next requests for shards instead: a status, or "cut" for about half of the content.
        asked: the paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults, self.asked = folder, list[Any](), list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.asked.append(path)
                file = outer.folder / path.lstrip("/")
                fault = outer.faults.pop(0) if outer.faults and path.endswith(".tar") else None
                if isinstance(fault, int) or not file.is_file():
                    self.send_error(fault if isinstance(fault, int) else 404)
                    return
                content = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2 + 100] if fault == "cut" else content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    made = Server(folder)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_addresses_equal_files(tmp_path: Path, server: Server) -> None:
    local = load_data(write(server.folder, [5, 6], classes=2))
    data = load_data(f"{server.address}/{{000..001}}.tar?key=secret")
    assert torch.equal(data.samples, local.samples)
    assert data.digest == local.digest
    assert local.stream is not None
    assert data.stream is not None
    there, here = (each.reader(1).take(3, 30) for each in (data.stream, local.stream))
    assert torch.equal(there["real"], here["real"])
    assert torch.equal(there["label"], here["label"])
    (server.folder / "0.tar.gz").write_bytes(gzip.compress((server.folder / "000.tar").read_bytes()))
    assert numbers(load_data(f"{server.address}/{{0..0}}.tar.gz")) == [0, 1, 2, 3, 4]
    (server.folder / "classes.txt").write_text("no\nyes")
    assert load_data(f"{server.address}/{{000..001}}.tar").form.classes == ("no", "yes")


def test_a_shard_that_fails_twice_then_works(server: Server, waits: list[float]) -> None:
    spec = write(server.folder, [20, 20])
    expected = numbers(reader_of(spec).take(0, 100))
    each = reader_of(f"{server.address}/{{000..001}}.tar")
    server.faults = [503, "cut", 503, 503]
    assert numbers(each.take(0, 100)) == expected
    assert waits == [1, 1, 4, 16], "the second attempt came further"
    each = reader_of(f"{server.address}/{{000..001}}.tar")
    server.faults = ["cut"] * 10
    with pytest.raises(UserError, match=r"tar cannot be read in . attempts .*at member"):
        each.take(0, 40)


def test_an_address_without_a_shard_is_reported_at_once(server: Server, waits: list[float]) -> None:
    with pytest.raises(UserError, match=r"shard http://127.*/a-0.tar cannot be read \(HTTP Error 404"):
        load_data(f"{server.address}/a-{{0..1}}.tar")
    assert waits == []
    with pytest.raises(UserError, match=r"a.parquet' is not a shard; give .tar, .tar.gz, .tgz files"):
        load_data(f"{server.address}/a.parquet")


def test_a_command_needs_trust(tmp_path: Path, refused: Refused, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [5, 6])
    proof = tmp_path / "ran"
    spec = f"pipe:touch {proof}; cat {tmp_path}/{{000..001}}.tar"
    for command in (["data", spec], ["train", "--data", spec, "--steps", "1"]):
        assert "would run a command; if you trust where it comes from, add --trust" in refused(*command)
    assert not proof.exists()
    assert main(["data", spec, "--trust", "--out", str(tmp_path / "sheet.png")]) == 0
    report = capfd.readouterr().out
    assert "shards      2; the 11 samples of this report are the whole set" in report
    command = next(line for line in report.splitlines() if line.startswith("command"))
    assert command.endswith(" --trust")
    assert load_recipe("digits").replace(data=spec).trust == " --trust"
    with trusted(True):
        each = reader_of(spec)
    assert sorted(numbers(each.take(0, 11))) == list(range(11))


def test_images_are_scored_against_the_output_of_a_command(tmp_path: Path) -> None:
    write(tmp_path, [40])
    (tmp_path / "made").mkdir()
    for number in range(40):
        (tmp_path / "made" / f"{number}.png").write_bytes(png(number))
    options = {"against": f"pipe:cat {tmp_path}/000.tar", "metrics": "sliced_wasserstein"}
    with pytest.raises(UserError, match="add --trust"):
        sparring.evaluate_images(tmp_path / "made", **options)
    assert sparring.evaluate_images(tmp_path / "made", trust=True, **options).values["sliced_wasserstein"] < 1e-6


def test_a_command_that_fails_is_reported_with_its_status(tmp_path: Path, waits: list[float]) -> None:
    write(tmp_path, [5])
    with trusted(True):
        with pytest.raises(UserError, match="the command ended with status 7: empty file"):
            load_data("pipe:exit 7")
        with pytest.raises(UserError, match="the command ended with status 9: at member 00000.json"):
            load_data(f"pipe:head -c 2000 {tmp_path}/000.tar; exit 9")


def test_a_command_whose_output_is_not_needed_any_more_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [5])
    monkeypatch.setattr(load, "REFERENCE", 2)
    with trusted(True):
        assert len(load_data(f"pipe:echo $$ > {tmp_path}/pid; cat {tmp_path}/000.tar; exec yes")) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# what the rest of the program sees


def test_the_reference_is_the_first_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path, [5, 6, 7])
    whole = load_data(spec)
    assert numbers(whole) == list(range(18))
    assert whole.total == 18
    monkeypatch.setattr(load, "REFERENCE", 7)
    data = load_data(spec)
    assert numbers(data) == list(range(7))
    assert [data.total, data.amount] == [float("inf"), "3 shards"]
    assert data.digest != load_data(f"{tmp_path}/{{000..001}}.tar").digest, "the same samples, other shards"
    assert data.part(torch.arange(3)).stream is None
    assert data.renamed("other").stream is data.stream
    assert load_held_out(spec) is None


def test_the_last_shards_are_held_out(tmp_path: Path) -> None:
    spec = write(tmp_path, [5, 6, 7, 8], classes=2)
    data = load_data(spec, held_out=0.5)
    assert numbers(data) == list(range(11))
    rest = load_held_out(spec, held_out=0.5, train=data)
    assert rest is not None
    assert numbers(rest) == list(range(11, 26))
    assert [rest.split, rest.stream, rest.form.classes] == ["test", None, ("0", "1")]
    assert data.stream is not None
    assert sorted(numbers(data.stream.reader(0).take(0, 11))) == list(range(11))
    with pytest.raises(UserError, match=r"held_out=0.1 of 4 shards leaves one part empty; whole shards are held out"):
        load_data(spec, held_out=0.1)


def test_what_does_not_suit_a_stream(tmp_path: Path) -> None:
    spec = write(tmp_path, [5])
    with pytest.raises(UserError, match="fit='patch' cannot cut patches from shards; use --fit crop"):
        load_data(spec, size=4, fit="patch")
    with pytest.raises(UserError, match="hold single images; give pairs or two sets in a folder"):
        load_data(spec, layout=Pairs())


# training


FIELDS = {**TINY, "batch_size": 5, "steps": 12, "mirror": True, "checkpoint_every": 1e-9, "seed": 4, "threads": "1"}


def final_hash(run: Path) -> str:
    return checkpoint.manifests(run / "checkpoints")[-1].sha256


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [without_time(row) for row in Run.open(run).rows()]


@pytest.mark.usefixtures("small_blocks")
def test_training_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: Callable[..., Any]
) -> None:
    monkeypatch.setattr(load, "REFERENCE", 6)
    spec = write(tmp_path, [9, 8, 11])
    whole = sparring.train("digits", out=tmp_path / "whole", data=spec, **FIELDS)
    for step in (3, 7):
        run = tmp_path / f"run-{step}"
        with killed_at(step, FIELDS["seed"]):
            sparring.train("digits", out=run, data=spec, **FIELDS)
        sparring.resume(run)
        assert final_hash(run) == final_hash(whole)
        assert rows_of(run) == rows_of(whole)
    assert "(3 shards, samples of shape [1, 8, 8])" in (whole / "summary.md").read_text()
    plain = sparring.train("digits", out=tmp_path / "plain", data=spec, **{**FIELDS, "mirror": False})
    assert final_hash(plain) != final_hash(whole)


def test_training_sees_more_than_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "REFERENCE", 6)
    spec, seen = write(tmp_path, [9, 8, 11]), list[int]()
    real = Feed.take

    def noted(self: Feed, position: int, count: int) -> dict[str, Tensor]:
        found = real(self, position, count)
        seen.extend(numbers(found))
        return found

    monkeypatch.setattr(Feed, "take", noted)
    sparring.train("digits", out=tmp_path / "run", data=spec, **{**FIELDS, "mirror": False, "threads": "auto"})
    assert seen[-60:][:28] == numbers(reader_of(spec, seed=4).take(0, 28))
    assert sorted(seen[-60:][:28]) == list(range(28))


def test_timed_steps_take_samples_from_memory(tmp_path: Path) -> None:
    data = load_data(write(tmp_path, [9]))
    assert Threads(load_recipe("digits"), data, torch.device("cpu")).data.stream is None


def test_classes_of_a_stream_condition_the_generator(tmp_path: Path) -> None:
    spec = write(tmp_path, [9, 9], classes=3)
    fields = {**FIELDS, "task": "Generate(latent=Normal(8), classes=True)", "held_out": 0.5, "evaluate_every": 10}
    run = sparring.train("digits", out=tmp_path / "run", data=spec, **{**fields, "metrics": "sliced_wasserstein"})
    assert sparring.load(run).sample(6, label=2).shape == (6, 1, 8, 8)
