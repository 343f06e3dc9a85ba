"""The page of one pair, and what the page of a batch needs of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnreg.evaluation.page.entries import entry_of
from cnnreg.evaluation.page.preview import encode_preview, preview_side
from cnnreg.evaluation.page.writing import write_page
from cnnreg.pipeline.registration import Registration
from cnnreg.pipeline.seen import seen


def preview(result: Registration, side: int) -> str:
    """What the page needs of a registration, as one line of JSON; see :func:`preview_side` for ``side``."""
    parts: dict[str, Any] = vars(seen(result, side))
    return encode_preview(**parts)


def write_page_of(
    result: Registration, report: Mapping[str, Any], path: Path, *, links: tuple[tuple[str, str], ...]
) -> None:
    """The page of one pair; ``links``: names and addresses of the files beside it."""
    fixed, moving = (Path(name).name for name in result.request.names)
    title = f"{moving} registered to {fixed}"
    entry = entry_of(report, pair_id=title, preview=preview(result, preview_side(1)), links=links)
    write_page([entry], path, title=title)
