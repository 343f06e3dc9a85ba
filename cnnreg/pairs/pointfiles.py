"""Landmarks on disk, as people's tools write them: one table of layouts; what is ambiguous is an error that says so."""

import codecs
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnreg.errors import TableError

Points = NDArray[np.float64]  # (N, 2), row and column in pixels
Rows = list[dict[str, str]]

ELASTIX = ("point", "index")  # its first lines: physical points, or pixels
_NAPARI = {"axis-0": "y", "axis-1": "x"}  # napari counts axes as arrays do
_ACCEPTED = "a header with x and y (CSV, semicolons or tabs), or a file of BigWarp, napari, Fiji or elastix (.pts)"


def read_point_rows(path: Path, *, moving: bool = False) -> Rows:
    """The rows of a file of landmarks, with their coordinates under ``x`` and ``y`` and what else there is.

    ``moving`` picks those of the moving image from a file that holds both, as BigWarp's do.

    Raises:
        TableError: there is no such file, or its columns are not known or not unambiguous.
    """
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise TableError(f"{path} is empty; expected {_ACCEPTED}")
    if lines[0].lstrip()[0] in "{[<":
        raise TableError(f"{path} is {'XML' if lines[0].lstrip()[0] == '<' else 'JSON'}; expected {_ACCEPTED}")
    if lines[0].strip().lower() in ELASTIX:
        rows = _elastix(path, lines)
    else:
        table = _cells(lines)
        active = len(table[0]) >= 6 and table[0][1].lower() in {"true", "false"}
        rows = _bigwarp(path, table, moving=moving) if active else _named(path, table)
    if not rows:
        raise TableError(f"{path} has no points")
    return rows


def _cells(lines: list[str]) -> list[list[str]]:
    """Separated by tabs, semicolons, commas or, if there are none of these, blanks; what is no comma may be decimal."""
    mark = next((mark for mark in "\t;," if mark in lines[0]), " ")
    table = [[cell.strip().strip('"') for cell in row] for row in csv.reader(lines, delimiter=mark)]
    if mark == " ":
        table = [[cell for cell in row if cell] for row in table]
    if mark == ",":
        return table
    return [table[0], *([cell.replace(",", ".") for cell in row] for row in table[1:])]


def read_points(path: Path, *, moving: bool = False, physical: bool = False) -> Points:
    """Landmarks in pixels (0 = centre of the first), or physical units, as (N, 2) row and column, or y and x.

    Raises:
        TableError: they cannot be read; or they are to be ``physical``, and the file says that they are not.
    """
    rows = read_point_rows(path, moving=moving)
    if physical and _text(path).lstrip().lower().startswith("index\n"):
        raise TableError(f"{path} holds pixels, as its first line, index, says; leave --physical out")
    try:
        points = np.array([[float(row["y"]), float(row["x"])] for row in rows])
    except (TypeError, ValueError):
        raise TableError(f"{path}: the columns x and y must hold numbers in every row") from None
    if not np.isfinite(points).all():
        raise TableError(f"{path}: the columns x and y must hold finite numbers")
    return points


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"cannot read the table {path}: {error.strerror}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise TableError(f"{path} is not a text file; expected {_ACCEPTED}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # names of points; numbers are the same


def _named(path: Path, table: list[list[str]]) -> Rows:
    header, rows = table[0], table[1:]
    names = [_NAPARI.get(name.lower(), name.lower() if name.lower() in {"x", "y"} else name) for name in header]
    if "axis-2" in {name.lower() for name in header}:
        raise TableError(f"{path} has points of three dimensions; give axis-0 and axis-1 (or x and y) alone")
    if twice := [name for name in ("x", "y") if names.count(name) > 1]:
        raise TableError(f"{path} has the column {twice[0]} {names.count(twice[0])} times; leave one")
    if all(_is_number(name) for name in header):
        raise TableError(f"{path} has no header, its first line holds numbers: put a line x,y above, or y,x")
    if missing := [name for name in ("x", "y") if name not in names]:
        shown = ", ".join(header)
        raise TableError(
            f"{path} lacks the column {', '.join(missing)}; its columns are {shown or 'none'}; expected {_ACCEPTED}"
        )
    if not rows:
        raise TableError(f"{path} has no rows below its header")
    for number, row in enumerate(rows, start=2):
        if len(row) > len(names):
            raise TableError(f"{path}, line {number}: there are more cells than the header has columns")
        if blank := [c for c in ("x", "y") if names.index(c) >= len(row) or not row[names.index(c)]]:
            raise TableError(f"{path}, line {number}: there is nothing in the column {', '.join(blank)}")
    return [dict(zip(names, row, strict=False)) for row in rows]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bigwarp(path: Path, table: list[list[str]], *, moving: bool) -> Rows:
    """Name, whether it is used, x and y in the moving image, x and y in the fixed one; no header."""
    if any(len(row) != 6 for row in table):
        raise TableError(f"{path} is not of BigWarp's six columns; points of three dimensions cannot be used")
    first = 2 if moving else 4
    used = [row for row in table if row[1].lower() == "true"]
    if any("infinity" in cell.lower() for row in used for cell in row[2:]):
        raise TableError(f"{path} holds a point that is set in one of the images only; set or remove it in BigWarp")
    return [{"name": row[0], "x": row[first], "y": row[first + 1]} for row in used]


def _elastix(path: Path, lines: list[str]) -> Rows:
    """A line ``point`` or ``index``, one with their number, and x and y with a blank between."""
    rows = [line.split() for line in lines[2:]]
    if not lines[1].strip().isdigit() or int(lines[1]) != len(rows) or any(len(row) != 2 for row in rows):
        raise TableError(f"{path} is not as elastix writes points: their number, then x and y in every line")
    return [{"x": x, "y": y} for x, y in rows]
