"""From what a caller says, one option at a time, to the parameters of a run; the command line's way, too.

Nothing heavy is imported before something is resolved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnreg import defaults
from cnnreg.errors import UsageError, unknown_name
from cnnreg.synonyms import METRICS

if TYPE_CHECKING:
    from cnnreg.pipeline.setup import Setup

Changes = dict[str, dict[str, object]]  # section of the parameters -> key -> value
INITS = ("auto", "none", "center", "moments", "rigid", "similarity", "affine")


@dataclass(frozen=True)
class Choices:
    """What a caller chooses for registering; None: as the preset or the parameter file has it."""

    adapt: int | None = None
    model: str = defaults.MODEL
    preset: str | None = None
    parameters: str | Path | None = None
    init: str | Path | None = None
    similarity: str | None = None
    padding: str | None = None
    mirror: bool = True
    max_size: int | None = None
    percentiles: tuple[float, float] | None = None
    landmark_weight: float | None = None
    features: str | None = None
    device: str = "auto"
    threads: int | None = None
    seed: int = defaults.SEED

    @property
    def transform(self) -> Path | None:
        """The transform file that ``init`` names."""
        text = str(self.init or "")
        return Path(text) if "." in text or "/" in text or (text and Path(text).is_file()) else None

    @property
    def changes(self) -> Changes:
        """Of the parameters, by section.

        Raises:
            UsageError: ``init`` is no name of a search, nor of a file.
        """
        init = None if self.init is None or self.transform else str(self.init)
        if init and init not in INITS:
            raise UsageError(f"{unknown_name('value of --init', init, INITS)}, or a transform file")
        padding = "keep" if self.padding == "off" else self.padding
        metric = METRICS.get(self.similarity or "", self.similarity)
        return {
            **section(
                "alignment",
                init=init,
                padding=padding,
                mirror=None if self.mirror else "never",
                features=self.features,
            ),
            **section("adaptation", steps=self.adapt),
            **section("refinement", similarity=metric, max_size=self.max_size, landmarks=self.landmark_weight),
            **section(
                "loss", similarity=None if metric in {"auto", "learned"} else metric
            ),  # of iterations on the weights
        }

    def setup(self) -> "Setup":
        """The parameters of the run.

        Raises:
            UsageError: a name is not known, or something has no effect: landmarks that are to pull a field at rest, or
                weights that are to follow a metric of the field.
        """
        setup = make_setup(
            preset=self.preset,
            parameters=Path(self.parameters) if self.parameters else None,
            model=self.model,
            device=self.device,
            seed=self.seed,
            threads=self.threads,
            changes=self.changes,
            percentiles=self.percentiles,
        )
        adaptation = setup.config.adaptation
        if self.similarity == "learned" and adaptation.target == "weights":
            raise UsageError("the metric learned is for iterations on the field: give another one, or another preset")
        if self.landmark_weight and (not adaptation.steps or adaptation.target == "weights"):
            raise UsageError(
                "--landmark-weight pulls the field in its iterations: give --adapt N, and not --preset paper"
            )
        return setup


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
) -> "Setup":
    """Resolve parameters: a preset or a file, then what single options change."""
    from cnnreg.config import preset as named_preset
    from cnnreg.config import read_parameters
    from cnnreg.pipeline.setup import Setup

    if preset and parameters:
        raise UsageError('--preset and --parameters exclude each other; a file can begin with base = "PRESET"')
    config, sections = read_parameters(parameters) if parameters else (named_preset(preset or "default"), set())
    config = config.override(dict(changes or {}), source="command line")
    if percentiles and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise UsageError(f"--percentiles must be from 0 to 100, got {percentiles[0]:g} and {percentiles[1]:g}")
    return Setup(config, model, device, seed, threads, frozenset(sections), percentiles)


def section(name: str, **values: object) -> Changes:
    """What options that were given change in a section of the parameters."""
    return {name: {key: value for key, value in values.items() if value is not None}}
