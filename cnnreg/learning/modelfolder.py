"""Where a model is going to be written: what may stand there."""

import json
import os
import zipfile
from pathlib import Path

from cnnreg.errors import OutputError
from cnnreg.files import claim
from cnnreg.learning.modelplaces import CARD, WEIGHTS, find


def claim_model_folder(folder: Path, *, overwrite: bool, start: str, further: tuple[str, ...] = ()) -> None:
    """Make sure, before any work, that a model can be written to ``folder``, with ``further`` files beside it.

    Raises:
        OutputError: one is there already and ``overwrite`` is off; or it is ``start``, the model that the work begins
            with; or one of these files is there, but no model that it could belong to.
    """
    claim(folder)
    standing = [name for name in (CARD, *further, WEIGHTS) if os.path.lexists(folder / name)]
    if not standing:
        return
    what = "a model" if standing[0] == CARD and not further else standing[0]
    if not overwrite:
        onwards = "go on with --resume, " if further else ""
        raise OutputError(
            f"{folder} already holds {what}; {onwards}give --overwrite to replace it, or another folder with -o"
        )
    if start != "none" and find(start).resolve() == folder.resolve():
        raise OutputError(f"{folder} holds the model that this one begins with; give another folder with -o")
    if not _is_ours(folder, further):
        raise OutputError(
            f"{folder / standing[0]} lies where the model would go, but belongs to no model; "
            f"move it away, or give another folder with -o"
        )


def _is_ours(folder: Path, further: tuple[str, ...]) -> bool:
    """Whether there is a card, damaged weights or not, or the checkpoint of a training that was stopped."""
    try:
        return isinstance(json.loads((folder / CARD).read_text(encoding="utf-8"))["sha256"], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return any(zipfile.is_zipfile(folder / name) for name in further)
