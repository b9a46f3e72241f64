"""Archives of images, read member by member without unpacking to disk."""

from __future__ import annotations

import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, cast

from sparring.base.errors import UserError, shortened
from sparring.data.sources.decode import SUFFIXES
from sparring.data.sources.source import Item, Source, folder_classes, is_image, size_of, stamps

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
LARGEST = 256 << 20  # bytes per member
MOST = 2_000_000  # members
MOST_RATIO = 100  # unpacked bytes / packed bytes; checked beyond UNCHECKED unpacked bytes
UNCHECKED = 64 << 20
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    ValueError,
    RecursionError,  # tarfile recurses once per header in a chain of long names
)


def is_archive(path: Path) -> bool:
    """True if the file name ends in .zip, .tar, .tar.gz or .tgz."""
    return path.name.lower().endswith(ENDINGS)


def archive_source(path: Path) -> Source:
    """All images in a `.zip`, `.tar` or `.tar.gz`.

    Top-level folders become classes if every image lies in one. A single folder around everything is skipped.

    Raises:
        UserError: the archive is damaged, holds no images, or has a member path or link that leads out of it; or it
            exceeds a limit: 256 MiB per member, 2,000,000 members, or, beyond 64 MiB, 100 times its packed size.
    """
    identify = partial(stamps, path)
    identity = identify()  # before listing, so that a later change is detected
    zipped = path.name.lower().endswith(".zip")
    with reading_archive(path):
        names = [*_list_zip(path)] if zipped else [*_list_tar(path)]
    images = [name for name in names if is_image(PurePosixPath(name.replace("\\", "/")))]
    if not images:
        raise UserError(
            f"{path} holds no images; looked for {', '.join(sorted(SUFFIXES))}; give an archive of such files"
        )
    parts = [_parts(name) for name in images]
    if len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    labels = dict(zip(images, folder_classes(parts)))
    items = partial(_zip_items if zipped else _tar_items, path, labels)
    place, size = str(path.resolve()), size_of(path)
    return Source(str(path), identity, items, len(images), place=place, identify=identify, size=size)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != ".")


def _check_name(path: Path, name: str) -> None:
    slashed = name.replace("\\", "/")
    if slashed.startswith("/") or slashed[1:2] == ":" or ".." in slashed.split("/") or "\0" in name:
        leads = f"{path} holds {shortened(repr(name))}, a path that leads out of the archive"
        raise UserError(f"{leads}; pack the images again with relative paths, or unpack them and give the folder")


def check_size(path: Path | str, name: str, size: int, number: int) -> None:
    """Raise UserError if a member has more bytes than allowed, or if it is one member too many."""
    if size > LARGEST:
        unpacks = f"{shortened(repr(name))} unpacks to {size / 2**20:,.0f} MiB"
        raise UserError(f"{path}: {unpacks}; at most {LARGEST >> 20} MiB are allowed; remove it from the archive")
    if number > MOST:
        raise UserError(f"{path} holds more than {MOST:,} members; split it, or unpack it and give the folder")


def _check_ratio(path: Path, what: str, unpacked: int, packed: int) -> None:
    if unpacked > UNCHECKED and unpacked > MOST_RATIO * max(1, packed):
        raise UserError(
            f"{path}: {what} unpacks to more than {MOST_RATIO} times its size, which images never do; this may be a "
            "zip bomb; do not open it"
        )


def _refuse_link(path: Path, name: str, kind: str = "a link") -> None:
    what = f"{shortened(repr(name))}, {kind}"
    raise UserError(f"{path} holds {what}, which may lead out of the archive; pack only regular files")


@contextmanager
def reading_archive(path: Path) -> Iterator[None]:
    """Convert the errors of a damaged archive into a UserError."""
    try:
        yield
    except UserError:
        raise
    except DAMAGED as error:
        cause = shortened(str(error))
        raise UserError(f"{path} is damaged or not an archive ({cause}); copy or download it again") from error


def _list_zip(path: Path) -> Iterator[str]:
    """Names of the files, each checked."""
    unpacked = 0
    with zipfile.ZipFile(path) as archive:
        for number, info in enumerate(sorted(archive.infolist(), key=lambda i: i.filename), start=1):
            _check_name(path, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                _refuse_link(path, info.filename)
            if not info.is_dir():
                check_size(path, info.filename, info.file_size, number)
                _check_ratio(path, repr(info.filename), info.file_size, info.compress_size)
                unpacked += info.file_size
                yield info.filename
    _check_ratio(path, "it", unpacked, path.stat().st_size)


def _zip_items(path: Path, labels: dict[str, str | None]) -> Iterator[Item]:
    with reading_archive(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for name, label in labels.items():
            yield Item(f"{path}/{name}", _zip_content(archive, name), label)


def _zip_content(archive: zipfile.ZipFile, name: str) -> bytes | Exception:
    """The bytes of a member, at most its declared size, or the error."""
    try:
        with archive.open(name) as file:
            return file.read(LARGEST)
    except (*DAMAGED, RuntimeError) as error:  # RuntimeError: encrypted
        return error


class _Bounded:
    """A file that refuses reads larger than the largest member, because a tar header can request any size."""

    def __init__(self, file: IO[bytes] | BufferedIOBase, path: Path) -> None:
        self.file, self.path = file, path

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST:
            check_size(self.path, "a header", size if size > 0 else LARGEST + 1, 0)
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a `.tar`, gzipped or not, for one pass."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        with tarfile.open(fileobj=cast(IO[bytes], _Bounded(file, path)), mode="r:") as archive:
            yield archive


def _list_tar(path: Path) -> Iterator[str]:
    """Names of the files, each checked."""
    packed = path.stat().st_size
    with open_tar(path) as archive:
        for number, info in enumerate(archive, start=1):
            _check_name(path, info.name)
            if info.issym() or info.islnk():
                _refuse_link(path, info.name)
            if not info.isfile() and not info.isdir():
                _refuse_link(path, info.name, "neither a file nor a folder")
            check_size(path, info.name, info.size, number)
            _check_ratio(path, "it", archive.offset, packed)
            archive.members.clear()  # type: ignore[attr-defined]  # or tarfile keeps every header
            if info.isfile():
                yield info.name
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if any(archive.fileobj.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError(f"invalid header at byte {archive.offset}")


def _tar_items(path: Path, labels: dict[str, str | None]) -> Iterator[Item]:
    with reading_archive(path), open_tar(path) as archive:
        for info in archive:
            archive.members.clear()  # type: ignore[attr-defined]
            if info.name in labels and info.isfile():
                file = archive.extractfile(info)
                assert file is not None
                yield Item(f"{path}/{info.name}", file.read(LARGEST), labels[info.name])
