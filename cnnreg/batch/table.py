"""A table of pairs as people have them: commas, semicolons or tabs; with or without a byte order mark."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from cnnreg.errors import TableError
from cnnreg.files import stem

PAIR_ID, IMAGES = "pair_id", ("fixed", "moving")
LONGEST = 200  # bytes of a pair's name, which is that of its folder
TOLD = 20  # of a list of faults


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    line: int  # of the file, where the row begins, the header being the first
    cells: dict[str, str]  # column -> what stands there, without those that are empty


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows; names of columns as options have them, with underscores (``--seg-fixed`` is ``seg_fixed``).

    Raises:
        TableError: it cannot be read, or lacks the columns ``fixed`` and ``moving``, or has no rows.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True, strict=True)
    try:
        columns = [_column(name) for name in next(reader, [])]
        rows, line = [], reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(_row(path, line, columns, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: it is not CSV ({error})") from None
    _check_columns(path, columns)
    if not rows:
        raise TableError(f"{path} has no rows below its header")
    return columns, rows


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"cannot read the table {path}: {error.strerror}") from None
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8', or convert it with iconv"
        ) from None


def _delimiter(text: str) -> str:
    """The one of the header's."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _column(name: str) -> str:
    return name.strip().removeprefix("--").replace("-", "_").lower()


def _row(path: Path, line: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        raise TableError(f"{path}, line {line}: there are more cells than the header has columns")
    named = zip(columns, (cell.strip() for cell in cells), strict=False)
    return Row(line, {column: cell for column, cell in named if cell and column})


def _check_columns(path: Path, columns: list[str]) -> None:
    if missing := [name for name in IMAGES if name not in columns]:
        found = ", ".join(columns) or "none"
        raise TableError(f"{path} lacks the column {' and '.join(missing)}; its columns are {found}")
    if twice := [name for name, times in Counter(columns).items() if times > 1 and name]:
        raise TableError(f"{path} has the column {twice[0]} twice; leave one")


def name_pairs(path: Path, rows: list[Row]) -> list[str]:
    """The name of every pair: its ``pair_id``, or one made of its images' names; unique, and fit to name a folder.

    Raises:
        TableError: names are unfit, or there twice, also where only case differs.
    """
    names, seen, faults = [], dict[str, int](), []
    given = {_folded(row.cells[PAIR_ID]) for row in rows if PAIR_ID in row.cells}
    for row in rows:
        name = row.cells.get(PAIR_ID) or _derived(row, given | seen.keys())
        if fault := _unfit(name):
            faults.append(f"line {row.line}: the pair_id {name!r} {fault}")
        elif (first := seen.setdefault(_folded(name), row.line)) != row.line:
            faults.append(f"lines {first} and {row.line} have the same pair_id {name}")
        names.append(name)
    refuse(path, faults)
    return names


def _folded(name: str) -> str:
    """What file systems that ignore case, or compose letters, take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def _derived(row: Row, taken: Set[str]) -> str:
    fixed, moving = (stem(Path(row.cells.get(name, ""))) for name in IMAGES)
    name = base = f"{moving}_to_{fixed}"
    number = 2
    while _folded(name) in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _unfit(name: str) -> str | None:
    """Why a name cannot be that of a folder."""
    if any(character in "/\\" or unicodedata.category(character) == "Cc" for character in name):
        return "holds a slash or a control character; it names a folder"
    if name.startswith("."):
        return "begins with a dot; it names a folder"
    if name.endswith((".csv", ".html", ".json")):
        return "ends like a file; it names a folder"
    return f"is longer than {LONGEST} bytes" if len(name.encode()) > LONGEST else None


def refuse(path: Path, faults: list[str]) -> None:
    """Stop where there are faults, and name them all together.

    Raises:
        TableError: there are.
    """
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise TableError(f"{path}: {'; '.join(faults[:TOLD])}{more}")
