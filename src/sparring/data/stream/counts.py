"""The number of samples of each shard, kept in the cache, so that a resumed run skips whole shards."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import suppress

from sparring.base.download import ROOM, cache_folder
from sparring.base.errors import NotWrittenError, UserError, writing
from sparring.data.stream.shards import Shard, read_shard


class Counts:
    """Numbers of samples of shards: known ones from the cache; the others are counted when needed.

    Each count is a line of a file, so that several processes can add theirs.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        names = json.dumps([shard.name for shard in shards]).encode()
        self.path = cache_folder() / "shards" / f"{hashlib.blake2b(names, digest_size=12).hexdigest()}.jsonl"
        self.known: dict[tuple[str, str], int] = {}  # name and stamp -> count
        self._saved = True
        self._read()

    def get(self, shard: Shard) -> int | None:
        """The number of samples of a shard, or None if it is not known."""
        return self.known.get((shard.name, shard.stamp))

    def count(self, shard: Shard) -> int:
        """The number of samples of a shard; an unknown one is read without decoding. UserError: it cannot be read."""
        if (known := self.get(shard)) is not None:
            return known
        found = sum(1 for _ in read_shard(shard, lambda number: False))
        self.record(shard, found)
        return found

    def record(self, shard: Shard, count: int) -> None:
        """Keep the number of samples of a shard that was read to its end.

        Raises:
            UserError: another number is known, so the shard has changed and positions in the stream are not valid.
        """
        known = self.get(shard)
        if known is not None and known != count:
            changed = f"shard {shard.name} holds {count:,} samples now, and held {known:,} before"
            raise UserError(f"{changed}; restore it, or remove {self.path} and start a new run")
        if known is None:
            self.known[shard.name, shard.stamp] = count
            self._append(json.dumps([shard.name, shard.stamp, count]) + "\n")

    def _append(self, line: str) -> None:
        if not self._saved:
            return
        try:
            with writing(self.path, ROOM):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)
        except NotWrittenError as error:
            self._saved = False
            print(f"Note: {error}; until then a resumed run counts the samples of shards again", file=sys.stderr)

    def _read(self) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):  # not written yet, or not writable
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # a torn line: its shard is counted again
                    name, stamp, count = json.loads(line)
                    self.known[name, stamp] = int(count)
