"""The page, as one file: its data, its scripts and its style; nothing is loaded from elsewhere."""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cnnreg.evaluation.page.entries import VERDICTS, Entry
from cnnreg.evaluation.tables import TITLES, Ends
from cnnreg.files import write_text

SCRIPTS = ("model.js", "images.js", "plots.js", "table.js", "view.js")
MOST_BYTES = 200_000_000  # of images in a page; a browser keeps the text of a page of 500 MB, but not gladly
WORST_FIRST = ("error", *VERDICTS, "")


def write_page(entries: Sequence[Entry], path: Path, *, title: str) -> None:
    """Write the page of ``entries``, in their order, to ``path``, atomically.

    Images beyond ``MOST_BYTES`` are left out, those of good registrations first; the page says so.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(page(entries, title=title), path)


def page(entries: Sequence[Entry], *, title: str) -> str:
    """The text of the page."""
    title = title.encode("utf-8", "replace").decode()  # names of files need not be text
    script = "\n".join(_resource(name) for name in SCRIPTS)
    script, style = f'"use strict";\n{script}', _resource("page.css")
    shown = _with_images(entries)
    data = json.dumps(_data(entries, title, shown), separators=(",", ":"), allow_nan=False)
    parts = {
        "TITLE": html.escape(title),
        "POLICY": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:",
        "STYLE": style,
        "DATA": _block("data", data),
        "SCRIPT": script,
        "IMAGES": "\n".join(_block(f"p{n}", entries[n].preview or "") for n in sorted(shown)),  # while one looks
    }
    return re.sub(
        r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], _resource("page.html")
    )  # once: parts may hold {{}}


def _data(entries: Sequence[Entry], title: str, shown: set[int]) -> dict[str, Any]:
    """Columns, and for each pair a list of values before and one of values after."""
    found = {ends.title: (ends.title, ends.digits, ends.better) for entry in entries for ends in entry.measures}
    order = [*(title for title in TITLES if title in found), *(title for title in found if title not in TITLES)]
    columns = {title: found[title] for title in order}
    known = [{ends.title: ends for ends in entry.measures} for entry in entries]
    nothing = Ends("", None, None)
    return {
        "title": title,
        "columns": list(columns.values()),
        "left_out": sum(entry.preview is not None for entry in entries) - len(shown),
        "entries": [
            {
                "id": entry.pair_id,
                "fixed": entry.fixed,
                "moving": entry.moving,
                "verdict": entry.verdict,
                "probability": entry.probability,
                "reasons": entry.reasons,
                "before": [_number(own.get(title, nothing).first) for title in columns],
                "after": [_number(own.get(title, nothing).last) for title in columns],
                "links": entry.links,
                "shown": index in shown,
            }
            for index, (entry, own) in enumerate(zip(entries, known, strict=True))
        ],
    }


def _number(value: float | None) -> float | None:
    """Six digits are more than is shown; JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _with_images(entries: Sequence[Entry]) -> set[int]:
    """Which pairs are shown with images: all, or the worst that fit."""
    left, shown = MOST_BYTES, set()
    for index in sorted(range(len(entries)), key=lambda n: _rank(entries[n])):
        preview = entries[index].preview
        if preview is None or len(preview) > left:
            continue
        left -= len(preview)
        shown.add(index)
    return shown


def _rank(entry: Entry) -> int:
    return WORST_FIRST.index(entry.verdict) if entry.verdict in WORST_FIRST else len(WORST_FIRST)


def _block(name: str, text: str) -> str:
    """Text that no script runs; a browser must find no tag in it, whatever files are called."""
    escaped = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{escaped}</script>'


def _hash(text: str) -> str:
    """By which the page allows its own script and style, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _resource(name: str) -> str:
    return files("cnnreg.evaluation.page").joinpath(name).read_text(encoding="utf-8")
