"""From what a caller says, one option at a time, to the parameters of a run."""

from collections.abc import Mapping
from pathlib import Path

from cnnreg.config import preset as named_preset
from cnnreg.config import read_parameters
from cnnreg.errors import UsageError
from cnnreg.pipeline.setup import Setup

Changes = dict[str, dict[str, object]]  # section of the parameters -> key -> value


def make_setup(
    *,
    preset: str | None,
    parameters: Path | None,
    model: str,
    device: str,
    seed: int,
    threads: int | None,
    changes: Mapping[str, Mapping[str, object]] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> Setup:
    """Resolve parameters: a preset or a file, then what single options change."""
    if preset and parameters:
        raise UsageError('--preset and --parameters exclude each other; a file can begin with base = "PRESET"')
    config, sections = read_parameters(parameters) if parameters else (named_preset(preset or "default"), set())
    config = config.override(dict(changes or {}), source="command line")
    if percentiles and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise UsageError(f"--percentiles must be from 0 to 100, got {percentiles[0]:g} and {percentiles[1]:g}")
    return Setup(config, model, device, seed, threads, frozenset(sections), percentiles)


def initial(init: str | Path | None) -> tuple[Changes, Path | None]:
    """What the initial transform changes in the parameters, or the transform file that it names."""
    if init is None:
        return {}, None
    text = str(init)
    if "." in text or "/" in text or Path(text).is_file():
        return {}, Path(text)
    return {"alignment": {"init": text}}, None


def similarity(name: str | None) -> Changes:
    """What the similarity metric changes in the parameters: of steps on the field, and of those on the weights."""
    if name is None:
        return {}
    chosen: dict[str, object] = {"similarity": name}
    return {"refinement": chosen} | ({} if name == "auto" else {"loss": chosen})


def section(name: str, **values: object) -> Changes:
    """What options that were given change in a section of the parameters."""
    return {name: {key: value for key, value in values.items() if value is not None}}


def merged(*changes: Changes) -> Changes:
    """Changes of the parameters together, by section."""
    sections = {name for change in changes for name in change}
    return {name: {k: v for change in changes for k, v in change.get(name, {}).items()} for name in sections}
