"""Measures as rows for the terminal, a picture's caption, and CSV."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnreg.errors import OutputError
from cnnreg.files import locked, replacing

States = Mapping[str, Mapping[str, Any]]  # before, after, ... -> the measures of cnnreg.evaluation.measure


_ROWS = [  # title, path in the measures, digits
    ("MAD", "mad", 4),
    ("NCC", "ncc", 4),
    ("NMI", "nmi", 4),
    ("DSC", "overlap.dsc", 4),
    ("CMD [px]", "overlap.cmd_px", 2),
    ("CMD [mm]", "overlap.cmd_mm", 2),
    ("HD95 [px]", "overlap.hd95_px", 2),
    ("HD95 [mm]", "overlap.hd95_mm", 2),
    ("TRE [px]", "landmarks.tre_px", 2),
    ("TRE [mm]", "landmarks.tre_mm", 2),
    ("TRE median [px]", "landmarks.tre_median_px", 2),
    ("TRE max [px]", "landmarks.tre_max_px", 2),
    ("relative TRE", "landmarks.rtre", 4),
    ("folding [%]", "folding_percent", 3),
    ("SD log J", "sd_log_jacobian", 3),
    ("mean length [px]", "displacement_mean_px", 2),
    ("max length [px]", "displacement_max_px", 2),
]


def rows(states: States) -> list[tuple[str, list[str]]]:
    """Title and one cell a state for every measure that any state has; several labels follow their mean."""
    flat = {state: flatten(measures) for state, measures in states.items()}
    found = []
    for title, path, digits in _ROWS:
        cells = [_cell(values.get(path), digits) for values in flat.values()]
        if any(cells):
            found.append((title, cells))
    labels = sorted({label for m in states.values() for label in m.get("overlap", {}).get("labels", {})}, key=int)
    if len(labels) > 1:
        for label in labels:
            for title, name, digits in (("DSC", "dsc", 4), ("CMD [px]", "cmd_px", 2), ("HD95 [px]", "hd95_px", 2)):
                cells = [_cell(values.get(f"overlap.labels.{label}.{name}"), digits) for values in flat.values()]
                found.append((f"{title}, label {label}", cells))
    return found


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
    found = dict(rows(states))
    parts = [
        f"{name} {found[name][0]} -> {found[name][-1]}"
        for name in ("NCC", "MAD", "DSC", "CMD [px]", "TRE [px]")
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
