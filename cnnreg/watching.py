"""How long work tells a caller where it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def unwatched(*progress: object) -> None:
    """The watcher of callers who do not care."""
    del progress


@dataclass(frozen=True)
class Watcher:
    """Whom a registration tells where it is."""

    stage: Callable[[str], None] = unwatched  # the stage that begins: "model", "read", "align", "predict", ...
    step: Callable[[int, Mapping[str, float]], None] = unwatched  # iterations done, terms of the energy
    forecast: Callable[[Any], None] = unwatched  # what is to be expected, before any long work


UNWATCHED = Watcher()
