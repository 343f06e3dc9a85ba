"""``summary.csv`` and ``report.html``: a row for every pair of a batch, from the pairs' own status files."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from cnnreg.batch.folder import DONE, MISSING, BatchFolder
from cnnreg.evaluation.page.entries import Entry, entry_of, failure
from cnnreg.evaluation.page.writing import write_page
from cnnreg.evaluation.tables import flatten
from cnnreg.files import PAGE, PREVIEW, replacing

SUMMARY = "summary.csv"
FIRST = ("pair_id", "status", "verdict", "probability", "error", "fixed", "moving")
LAST = ("seconds", "threads", "fixed_sha256", "moving_sha256", "warped_sha256", "field_sha256", "began", "host")

Row = dict[str, Any]


def summarise(folder: BatchFolder) -> dict[str, str]:
    """Write ``summary.csv``; returns why each pair that is not done is not, by its name.

    Columns: :data:`FIRST`; those of the table that were to be kept; every measure as ``NAME_before`` and
    ``NAME_after``, with a dot before what belongs to one label; ``NAME_seconds`` of every stage; :data:`LAST`.
    A pair without a result has the status ``missing``.
    """
    pairs = folder.record()["pairs"]
    rows = [_row(pair, folder.status(pair["pair_id"])) for pair in pairs]
    kept = [name for name in pairs[0] if name not in FIRST] if pairs else []
    with replacing(folder.path / SUMMARY) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*FIRST, *kept, *_measured(rows, kept), *LAST], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder.undone(pair["pair_id"] for pair in pairs)


def write_summary_page(folder: BatchFolder) -> None:
    """Write ``report.html``, on which the pairs are seen, sorted and filtered."""
    entries = [_entry(folder, pair) for pair in folder.record()["pairs"]]
    write_page(entries, folder.path / PAGE, title=folder.path.absolute().name)


def _entry(folder: BatchFolder, pair: dict[str, str]) -> Entry:
    name, fixed, moving = pair["pair_id"], pair["fixed"], pair["moving"]
    place, status = folder.path / name, folder.status(name)
    if status is None:
        return failure(name, "there is no result: it has not run, or was interrupted", fixed=fixed, moving=moving)
    links = tuple((file, f"{quote(name)}/{quote(file)}") for file in status["files"] if file != PREVIEW)
    if status["status"] != DONE:
        return failure(name, status.get("error") or "failed", fixed=fixed, moving=moving, links=links)
    seen = (place / PREVIEW).read_text(encoding="utf-8") if (place / PREVIEW).is_file() else None
    report = {**status, "inputs": {"fixed": {"path": fixed}, "moving": {"path": moving}}}
    return entry_of(report, pair_id=name, preview=seen, links=links)


def _row(pair: dict[str, str], status: dict[str, Any] | None) -> Row:
    if status is None:
        return {**pair, "status": MISSING}
    verdict, inputs, results = (status.get(name) or {} for name in ("verdict", "inputs", "sha256"))
    return {
        **pair,
        "status": status["status"],
        "error": status.get("error"),
        "verdict": verdict.get("class"),
        "probability": verdict.get("probability"),
        **dict(_measures(status)),
        **{f"{stage}_seconds": seconds for stage, seconds in (status.get("seconds") or {}).items()},
        "seconds": status.get("total_seconds"),
        "threads": status.get("threads"),
        **{f"{name}_sha256": inputs.get(name) for name in ("fixed", "moving")},
        **{f"{name}_sha256": results.get(name) for name in ("warped", "field")},
        "began": status.get("began"),
        "host": status.get("host"),
    }


def _measures(status: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    stages = list((status.get("metrics") or {"": {}}).values())
    for when, measures in (("before", stages[0]), ("after", stages[-1])):
        for path, value in flatten(measures).items():
            yield f"{path.removeprefix('overlap.').removeprefix('landmarks.')}_{when}", value


def _measured(rows: Iterable[Row], kept: list[str]) -> list[str]:
    """Columns that only some rows may have, in the order in which they appear; before and after side by side."""
    found = dict.fromkeys(name for row in rows for name in row if name not in {*FIRST, *LAST, *kept})
    stages = [name for name in found if name.endswith("_seconds")]
    bare = dict.fromkeys(name.removesuffix("_before").removesuffix("_after") for name in found if name not in stages)
    measures = [f"{name}_{when}" for name in bare for when in ("before", "after") if f"{name}_{when}" in found]
    return [*measures, *stages]
