"""Measures as rows for the terminal, a picture's caption, and CSV."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnreg.errors import OutputError
from cnnreg.files import locked, replacing

States = Mapping[str, Mapping[str, Any]]  # before, after, ... -> the measures of cnnreg.evaluation.measure


LOWER, HIGHER = "lower", "higher"

_ROWS = [  # title, path in the measures, digits, what is better
    ("MAE (MAD)", "mad", 4, LOWER),
    ("NCC", "ncc", 4, HIGHER),
    ("NMI", "nmi", 4, HIGHER),
    ("DSC", "overlap.dsc", 4, HIGHER),
    ("ASSD (CMD) [px]", "overlap.cmd_px", 2, LOWER),
    ("ASSD (CMD) [mm]", "overlap.cmd_mm", 2, LOWER),
    ("HD95 [px]", "overlap.hd95_px", 2, LOWER),
    ("HD95 [mm]", "overlap.hd95_mm", 2, LOWER),
    ("TRE [px]", "landmarks.tre_px", 2, LOWER),
    ("TRE [mm]", "landmarks.tre_mm", 2, LOWER),
    ("TRE median [px]", "landmarks.tre_median_px", 2, LOWER),
    ("TRE max [px]", "landmarks.tre_max_px", 2, LOWER),
    ("relative TRE", "landmarks.rtre", 4, LOWER),
    ("folding [%]", "folding_percent", 3, LOWER),
    ("SD log J", "sd_log_jacobian", 3, ""),
    ("mean length [px]", "displacement_mean_px", 2, ""),
    ("max length [px]", "displacement_max_px", 2, ""),
]
_OF_LABEL = [
    ("DSC", "dsc", 4, HIGHER),
    ("ASSD [px]", "cmd_px", 2, LOWER),
    ("HD95 [px]", "hd95_px", 2, LOWER),
]


@dataclass(frozen=True)
class Row:
    """A measure, and what it is in every state: empty where unknown."""

    title: str
    better: str  # "lower", "higher", or "" where neither is
    cells: list[str]

    @property
    def best(self) -> set[int]:
        """Which cells hold the best value, as far as the digits shown tell; none where all are alike."""
        values = {number: float(cell) for number, cell in enumerate(self.cells) if cell}
        if not self.better or len(set(values.values())) < 2:
            return set()
        best = (min if self.better == LOWER else max)(values.values())
        return {number for number, value in values.items() if value == best}


def rows(states: States) -> list[Row]:
    """A row for every measure that any state has; several labels follow their mean."""
    flat = [flatten(measures) for measures in states.values()]
    labels = sorted({label for m in states.values() for label in m.get("overlap", {}).get("labels", {})}, key=int)
    of_labels = [
        (f"{title}, label {label}", f"overlap.labels.{label}.{name}", digits, better)
        for label in (labels if len(labels) > 1 else ())
        for title, name, digits, better in _OF_LABEL
    ]
    found = [
        Row(title, better, [_cell(values.get(path), digits) for values in flat])
        for title, path, digits, better in (*_ROWS, *of_labels)
    ]
    return [row for row in found if any(row.cells)]


TITLES = tuple(title for title, *_ in _ROWS)  # in the order in which they are shown


@dataclass(frozen=True)
class Ends:
    """A measure in the first and in the last state, None where unknown."""

    title: str
    first: float | None
    last: float | None
    digits: int = 2
    better: str = ""  # "lower", "higher", or "" where neither is


def first_and_last(states: States) -> list[Ends]:
    """Every measure that the first or the last state has."""
    if not states:
        return []
    flat = [flatten(measures) for measures in states.values()]
    found = [
        Ends(title, flat[0].get(path), flat[-1].get(path), digits, better) for title, path, digits, better in _ROWS
    ]
    return [ends for ends in found if (ends.first, ends.last) != (None, None)]


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def flatten(measures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested measures as one level, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in measures.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def summary(states: States) -> str:
    """One line with the few numbers that say whether it worked: first state -> last state."""
    found = {row.title: row.cells for row in rows(states)}
    parts = [
        f"{name} {found[name][0]} -> {found[name][-1]}"
        for name in ("NCC", "MAE (MAD)", "DSC", "ASSD (CMD) [px]", "TRE [px]")
        if name in found
    ]
    if "folding [%]" in found:
        parts.append(f"folding {found['folding [%]'][-1]} %")
    return ",   ".join(parts)


def append_csv(path: Path, values: Mapping[str, Any]) -> None:
    """Add a row to a CSV file; a file with other columns gets the union of both, empty where unknown.

    Processes that add rows to one file wait for each other.

    Raises:
        OutputError: the file is no table, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    with locked(path.parent):
        old, columns = _read_csv(path) if path.exists() else ([], [])
        columns += [name for name in values if name not in columns]
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows([*old, dict(values)])


def _read_csv(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows and the columns of a table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutputError(f"cannot add a row to {path}: it is not a CSV file that can be read ({error})") from None
    if any(None in row for row in rows):  # where csv puts what is left over
        raise OutputError(f"cannot add a row to {path}: one of its rows has more cells than the header has columns")
    return rows, columns
