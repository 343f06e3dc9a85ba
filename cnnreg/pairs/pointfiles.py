"""Landmarks on disk, as people's tools write them: one table of layouts; what is ambiguous is an error that says so."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnreg.errors import TableError
from cnnreg.images.image import Grid

Points = NDArray[np.float64]  # (N, 2), row and column in pixels
Rows = list[dict[str, str]]

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
    if lines[0].strip().lower() in {"point", "index"}:
        return _elastix(path, lines)
    mark = next((mark for mark in "\t;" if mark in lines[0]), ",")
    table = [[cell.strip().strip('"') for cell in row] for row in csv.reader(lines, delimiter=mark)]
    if mark == ";":
        table = [table[0], *([cell.replace(",", ".") for cell in row] for row in table[1:])]  # decimal commas
    if len(table[0]) >= 6 and table[0][1].lower() in {"true", "false"}:
        return _bigwarp(table, moving=moving)
    return _named(path, table)


def read_points(path: Path, *, moving: bool = False) -> Points:
    """Landmarks in pixels (0 = centre of the first) or physical units, as (N, 2) row and column, or y and x."""
    rows = read_point_rows(path, moving=moving)
    try:
        points = np.array([[float(row["y"]), float(row["x"])] for row in rows])
    except (TypeError, ValueError):
        raise TableError(f"{path}: the columns x and y must hold numbers in every row") from None
    if not np.isfinite(points).all():
        raise TableError(f"{path}: the columns x and y must hold finite numbers")
    return points


def outside(points: Points, grid: Grid) -> NDArray[np.bool_]:
    """Which points, in pixels, lie more than a pixel off the image."""
    off: NDArray[np.bool_] = (points < -1.5) | (points > np.array(grid.size) + 0.5)
    return np.logical_or(off[:, 0], off[:, 1])


def check_inside(points: Points, grid: Grid, *, which: str, physical: bool) -> str:
    """What to tell of landmarks of the ``which`` image that lie outside of it; nothing if all lie inside.

    Raises:
        TableError: all lie outside; the units that would put them inside are named.
    """
    off = outside(points, grid)
    if not off.any():
        return ""
    height, width = grid.size
    if not off.all():
        return f"{off.sum()} of {len(off)} landmarks of the {which} image lie outside of its {width} x {height} pixels"
    as_given = grid.to_physical(points)[:, ::-1] if physical else points
    other = as_given if physical else grid.to_pixels(points[:, ::-1])
    hint = "check that they belong to this image and are x, y in pixels"
    if not outside(other, grid).all():
        hint = "they look like pixels: leave --physical out" if physical else "they look like mm: give --physical"
    elif not outside(as_given[:, ::-1], grid).any():
        hint = "they look like y, x: exchange the columns"
    raise TableError(f"all landmarks of the {which} image lie outside of its {width} x {height} pixels; {hint}")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"cannot read the table {path}: {error.strerror}") from None
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


def _bigwarp(table: list[list[str]], *, moving: bool) -> Rows:
    """Name, whether it is used, x and y in the moving image, x and y in the fixed one; no header."""
    first = 2 if moving else 4
    used = [row for row in table if row[1].lower() == "true"]
    return [{"name": row[0], "x": row[first], "y": row[first + 1]} for row in used]


def _elastix(path: Path, lines: list[str]) -> Rows:
    """A line ``point`` or ``index``, one with their number, and x and y with a blank between."""
    rows = [line.split() for line in lines[2:]]
    if not lines[1].strip().isdigit() or int(lines[1]) != len(rows) or any(len(row) != 2 for row in rows):
        raise TableError(f"{path} is not as elastix writes points: their number, then x and y in every line")
    return [{"x": x, "y": y} for x, y in rows]
