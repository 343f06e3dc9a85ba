"""One row of the page: what is known of a pair, from its report or from its failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from cnnreg.evaluation.tables import Ends, first_and_last

VERDICTS = ("failed", "check", "good")  # of registrations that were done


@dataclass(frozen=True)
class Entry:
    """A pair as the page shows it."""

    pair_id: str
    fixed: str = ""  # names of the images, or their paths
    moving: str = ""
    verdict: str = ""  # one of VERDICTS; "" where none was given; "error" where there is no registration
    probability: float | None = None  # that the registration went well
    reasons: tuple[str, ...] = ()  # for the verdict; or why there is no registration
    measures: tuple[Ends, ...] = ()
    preview: str | None = None  # by cnnreg.evaluation.page.preview
    links: tuple[tuple[str, str], ...] = ()  # name and address, relative to the page, of files beside it


def entry_of(
    report: Mapping[str, Any], *, pair_id: str, preview: str | None = None, links: tuple[tuple[str, str], ...] = ()
) -> Entry:
    """From what ``report.json`` holds."""
    verdict = report.get("verdict") or {}
    measures = first_and_last(report.get("metrics", {}))
    if seconds := report.get("seconds"):
        measures.append(Ends("time [s]", None, sum(seconds.values())))
    return Entry(
        pair_id,
        fixed=_name(report, "fixed"),
        moving=_name(report, "moving"),
        verdict=verdict.get("class", ""),
        probability=verdict.get("probability"),
        reasons=(*verdict.get("reasons", ()), *(f"note: {note}" for note in report.get("notes", ()))),
        measures=tuple(measures),
        preview=preview,
        links=links,
    )


def failure(
    pair_id: str, reason: str, *, fixed: str = "", moving: str = "", links: tuple[tuple[str, str], ...] = ()
) -> Entry:
    """A pair that has no registration."""
    names = PurePath(fixed).name, PurePath(moving).name
    return Entry(pair_id, *names, verdict="error", reasons=(reason,), links=links)


def _name(report: Mapping[str, Any], which: str) -> str:
    path = report.get("inputs", {}).get(which, {}).get("path")
    return PurePath(path).name if path else f"{which} image"
