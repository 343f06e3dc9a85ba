"""From what a caller asks for to the parameters of a run."""

import os
from pathlib import Path

from cnnreg import defaults
from cnnreg.config import preset as named_preset
from cnnreg.config import read_parameters
from cnnreg.errors import UsageError, unknown_name
from cnnreg.pipeline.setup import Setup


def is_transform(init: str | os.PathLike[str]) -> bool:
    """Whether an initial transform is a file, not a method."""
    text = os.fspath(init)
    return not isinstance(init, str) or "." in text or "/" in text or Path(text).is_file()


def make_setup(
    *,
    adapt: int | None,
    model: str,
    preset: str | None,
    parameters: str | Path | None,
    init: str | os.PathLike[str] | None,
    similarity: str | None,
    device: str,
    threads: int | None,
    seed: int,
) -> Setup:
    """Parameters of a preset or a file, with what single arguments change.

    Raises:
        UsageError, ConfigError: a name that is not known, a number out of range, or nothing that could be done.
    """
    if preset and parameters:
        raise UsageError('preset and parameters exclude each other; a file can begin with base = "PRESET"')
    config, sections = read_parameters(Path(parameters)) if parameters else (named_preset(preset or "default"), set())
    changes: dict[str, dict[str, object]] = {}
    if adapt is not None:
        changes["adaptation"] = {"steps": adapt}
    if init is not None and not is_transform(init):
        if init not in defaults.INITS:
            raise UsageError(f"{unknown_name('value of init', str(init), defaults.INITS)}, or a transform file")
        changes["alignment"] = {"init": init}
    if similarity is not None:
        name = defaults.METRIC_ALIASES.get(similarity, similarity)
        changes["refinement"] = {"similarity": name}
        if name != "auto":
            changes["loss"] = {"similarity": name}
    config = config.override(changes, source="the arguments")
    if model == "none" and not config.adaptation.steps:
        raise UsageError("without a model nothing is predicted: give adapt=N")
    if threads is not None and (isinstance(threads, bool) or threads < 1):
        raise UsageError(f"threads must be a whole number of at least 1, got {threads!r}")
    return Setup(config, str(model), device, seed, threads, frozenset(sections))
