"""One pair to be registered, as data: it can be pickled, sent to another machine, and compared with what was done."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cnnreg import __version__
from cnnreg.errors import ImageError
from cnnreg.files import sha256
from cnnreg.learning import modelplaces
from cnnreg.learning.modelcards import read_card
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.setup import Setup


@dataclass(frozen=True)
class Task:
    """What is to be done with a pair."""

    pair_id: str
    request: Request
    setup: Setup
    pieces: tuple[str, ...]  # what is written of it, of cnnreg.pipeline.report.PIECES
    inverse: bool = False
    single: bool = False  # fields as float32
    kept: tuple[tuple[str, str], ...] = ()  # columns of the table for the summary, and their cells

    def options(self) -> dict[str, Any]:
        """All that decides the result beside the contents of the input files, ready for JSON."""
        request, setup = self.request, self.setup
        return {
            "version": __version__,
            "model": _model_hash(setup.model),
            "features": _model_hash(setup.config.alignment.features),
            "parameters": setup.config.as_dict(),
            "seed": setup.seed,
            "percentiles": setup.percentiles,
            "physical": request.physical,
            "slices": request.slices,
            "label_threshold": request.label_threshold,
            "spacings": request.spacings,
            "windows": request.windows,
            "outputs": sorted(self.pieces),
            "inverse": self.inverse,
            "float32": self.single,
        }

    def digest(self) -> str:
        """Of the options: equal where they are."""
        return hashlib.sha256(json.dumps(self.options(), sort_keys=True).encode()).hexdigest()

    @property
    def files(self) -> dict[str, Path]:
        """The input files by what they are to the pair."""
        request = self.request
        sources: dict[str, Any] = {"fixed": request.fixed, "moving": request.moving, "init": request.transform}
        twos = {"seg_{}": request.segs, "{}_mask": request.masks, "points_{}": request.points or (None, None)}
        for name, both in twos.items():
            sources |= {name.format(which): source for which, source in zip(("fixed", "moving"), both, strict=True)}
        return {name: source for name, source in sources.items() if isinstance(source, Path)}

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every input file, which also brings it into memory for the one who reads it next.

        Raises:
            ImageError: one of them cannot be read.
        """
        found = {}
        for name, path in self.files.items():
            try:
                found[name] = sha256(path)
            except OSError as error:
                raise ImageError(f"cannot read {path}: {error.strerror}") from None
        return found


@cache
def _model_hash(name: str) -> str:
    return "" if name == "none" else read_card(modelplaces.find(name)).sha256
