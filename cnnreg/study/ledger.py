"""The results of a study on disk: a row for each pair, case and measure, saved as each pair is finished."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnnreg.errors import OutputError, TableError
from cnnreg.files import replacing

COLUMNS = ("pair", "case", "measure", "value")
Results = dict[tuple[int, str], dict[str, float | None]]  # (pair, case) -> measure -> value


class Ledger:
    """``results.csv``, which grows by whole blocks; what a killed run left half-written is dropped on opening.

    Args:
        path: of the file; begun where it does not exist.
        measures: names of the rows of a block. A block without all of them is not complete.
    """

    def __init__(self, path: Path, measures: Sequence[str]) -> None:
        self.path, self.measures = path, tuple(measures)
        found = self._read() if path.exists() else {}
        self.results: Results = {key: block for key, block in found.items() if set(block) == set(self.measures)}
        with replacing(path) as temporary:
            temporary.write_text(_lines([COLUMNS]) + "".join(map(self._block, self.results)), encoding="utf-8")

    def add(self, pair: int, case: str, values: Mapping[str, float | None]) -> None:
        """Append one block and make sure that it is on the disk."""
        self.results[pair, case] = {name: values[name] for name in self.measures}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._block((pair, case)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from None

    def _block(self, key: tuple[int, str]) -> str:
        values = self.results[key]
        return _lines([(*key, name, "" if values[name] is None else repr(values[name])) for name in self.measures])

    def _read(self) -> Results:
        found: Results = {}
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            text = file.read()
        whole = text[: text.rfind("\n") + 1]  # a last line without its end was being written
        rows = csv.reader(io.StringIO(whole))
        if tuple(next(rows, COLUMNS)) != COLUMNS:
            raise TableError(f"{self.path} is not the results of a study; move it away or choose another folder")
        for row in rows:
            if len(row) == len(COLUMNS) and row[0].isdecimal():
                found.setdefault((int(row[0]), row[1]), {})[row[2]] = _number(row[3])
        return found


def _number(cell: str) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def _lines(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
