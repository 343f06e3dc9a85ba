"""Every parameter of the method: frozen dataclasses, presets, and TOML parameter files in the manner of Elastix.

A parameter is one field of one section below, with its range and its meaning beside it; the parameter files,
``cnnreg presets show`` and ``docs/parameters.md`` are all derived from here.
"""

import dataclasses
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from cnnreg.errors import ConfigError, UsageError, unknown_name
from cnnreg.synonyms import METRICS, by_key, of_other_tool


def _number(default: float, help: str, *, low: float = 0, high: float = float("inf")) -> Any:
    return field(default=default, metadata={"help": help, "low": low, "high": high})


def _name(default: str, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _choice(default: str, help: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Section:
    """A group of parameters; checks types and ranges on construction."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, self._checked(f, getattr(self, f.name)))

    @classmethod
    def _checked(cls, f: "dataclasses.Field[Any]", value: Any) -> Any:
        name = f"{cls.__name__.removesuffix('Config').lower()}.{f.name}"
        if choices := f.metadata.get("choices"):
            value = METRICS.get(value, value) if f.name == "similarity" and isinstance(value, str) else value
            if value not in choices:
                raise ConfigError(unknown_name(f"value of {name}", str(value), choices))
            return value
        if isinstance(f.default, str):
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{name} must be a name, got {value!r}")
            return value
        if isinstance(f.default, tuple):
            if not isinstance(value, list | tuple) or not value:
                raise ConfigError(f"{name} must be a list of whole numbers, got {value!r}")
            return tuple(cls._number(f, name, v, whole=True) for v in value)
        return cls._number(f, name, value, whole=isinstance(f.default, int))

    @staticmethod
    def _number(f: "dataclasses.Field[Any]", name: str, value: Any, *, whole: bool) -> float:
        low, high = f.metadata["low"], f.metadata["high"]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= min(high, sys.float_info.max) or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            limits = f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            raise ConfigError(f"{name} must be {kind} {limits}, got {value!r}")
        return int(value) if whole else float(value)


@dataclass(frozen=True)
class InputConfig(Section):
    """Preprocessing of an image before the network: intensities and size."""

    low: float = _number(0.0, "lower percentile of the intensity window, which is mapped to 0", high=100)
    high: float = _number(100.0, "upper percentile of the intensity window, which is mapped to 1", high=100)
    max_size: int = _number(256, "size at which the network works: pixels along the longer side", low=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ConfigError(f"input.low must be below input.high, got {self.low:g} and {self.high:g}")


@dataclass(frozen=True)
class AlignmentConfig(Section):
    """The initial transform, before anything is deformed."""

    init: str = _choice(
        "none",
        "auto (searched where needed), none (header geometry), center (geometric centres), moments (centres of mass), "
        "rigid, similarity or affine (always searched)",
        ("auto", "none", "center", "moments", "rigid", "similarity", "affine"),
    )
    features: str = _name(
        "none", "the model that describes images, by which they are aligned, by name or folder; none: by edges alone"
    )
    adapt_features: int = _number(
        0,
        "one-shot adaptation of the features: steps of their training on the two images themselves, where less than "
        "half of the matches agree; kept where more do then",
        high=10000,
    )
    padding: str = _choice(
        "keep",
        "automatic border masking: auto (frames, bars, filled corners and what surrounds an aperture are masked, here "
        "and in the iterations on the field) or keep (none)",
        ("auto", "keep"),
    )
    mirror: str = _choice(
        "never", "auto (mirror images are tried, too, where no other transform stands out) or never", ("auto", "never")
    )


@dataclass(frozen=True)
class NetworkConfig(Section):
    """The U-Net; stored with every model."""

    pooling: int = _number(2, "l: the input is average-pooled by 2^l before the U-Net", high=5)
    channels: tuple[int, ...] = field(
        default=(16, 32, 64, 128),
        metadata={"help": "feature channels of each U-Net level, finest first", "low": 1, "high": 1024},
    )


@dataclass(frozen=True)
class LossConfig(Section):
    """The energy that training, and iterations on the weights, minimise."""

    similarity: str = _choice(
        "ncc",
        "metric: ncc (global correlation), lncc (local, square windows), mse, mi (mutual information) or mind",
        ("ncc", "lncc", "mse", "mi", "mind"),
    )
    window: int = _number(9, "side of the windows of lncc in pixels; without effect on ncc", low=3)
    tv: float = _number(1e-6, "weight of the total variation of the field, summed over the pixels")
    l2: float = _number(1e-6, "weight of the norm of the field divided by the number of pixels")
    diffusion: float = _number(0.0, "weight of the mean squared gradient of the field")


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How ``cnnreg train`` pre-trains a network."""

    steps: int = _number(10000, "optimiser steps", low=1)
    batch_size: int = _number(8, "pairs in one step", low=1)
    learning_rate: float = _number(1e-3, "learning rate of Adam")
    schedule: str = _choice("cosine", "cosine (falls to 0 at the last step) or constant", ("cosine", "constant"))
    size: int = _number(0, "train on square images of this side; 0 = the images' own size, alike for all")
    augment: float = _number(1.0, "strength of the random flips, swaps, affine maps and contrast; 0 = none")
    validate_every: int = _number(500, "steps between two validations and checkpoints", low=1)


@dataclass(frozen=True)
class AdaptationConfig(Section):
    """Iterations on the pair (one-shot adaptation, instance optimisation): what ``--adapt N`` does."""

    steps: int = _number(0, "N: number of iterations")
    target: str = _choice(
        "weights",
        "what is optimised: field (starting from the prediction, see [refinement]), weights of the network, or "
        "features (the representation of the metric learned for some steps, then the field by it)",
        ("field", "weights", "features"),
    )
    feature_steps: int = _number(30, "features: steps of Adam on the representation before the iterations on the field")
    learning_rate: float = _number(1e-4, "learning rate of Adam on weights and features; without effect on the field")


@dataclass(frozen=True)
class RefinementConfig(Section):
    """Iterations on the field (adaptation.target = "field"); lengths in pixels of each resolution level."""

    similarity: str = _choice(
        "lncc",
        "metric: lncc (local correlation), ncc (global), mse, mi (mutual information), mind, learned (a network's "
        "representation of both images), or auto (what the pair's held-out blocks bear out)",
        ("auto", "lncc", "ncc", "mse", "mi", "mind", "learned"),
    )
    representation: str = _name("contrast-2d", "the model that represents images for learned, by name or folder")
    transform: str = _choice(
        "auto",
        "dense (a vector at each pixel or block, small steps composed), bspline (control points, with bending "
        "energy), or auto (bspline with mi, else dense)",
        ("auto", "dense", "bspline"),
    )
    max_size: int = _number(2048, "the field is refined on at most this many pixels along the longer side", low=64)
    window: int = _number(20, "side of the windows of the local correlation", low=3)
    floor: float = _number(5e-4, "added to each window's variance, of intensities in [0, 1]", low=1e-8)
    edges: float = _number(0.3, "weight of the edges (gradient magnitude) beside the intensities", high=1)
    step_size: float = _number(1.0, "dense: share of a damped Newton step that an iteration takes", low=0.01, high=2)
    damping: float = _number(0.2, "dense: Levenberg's, added to the curvature, in units of its mean", low=0.01)
    max_step: float = _number(1.0, "dense: maximum step length", low=0.01, high=2)
    update_sigma: float = _number(2.2, "dense: standard deviation of the Gaussian that smooths each update", low=0.1)
    total_sigma: float = _number(0.6, "dense: that of the one that smooths the total field after it", low=0.1)
    grid: float = _number(16.0, "bspline: spacing of the control points", low=2)
    bending: float = _number(
        0.003, "bspline: weight of the bending energy, with the image's shorter side as the unit of length"
    )
    landmarks: float = _number(0.0, "weight of the landmarks' pull; 1 is about that of the image at an average pixel")


@dataclass(frozen=True)
class Config:
    """All parameters of a run."""

    input: InputConfig = InputConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    adaptation: AdaptationConfig = AdaptationConfig()
    refinement: RefinementConfig = RefinementConfig()

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Plain sections and values, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def override(self, changes: Mapping[str, Any], *, source: str) -> "Config":
        """This configuration with the given sections' keys replaced; ``source`` names the file in errors."""
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name, values in changes.items():
            if name not in sections:
                raise ConfigError(f"{source}: {unknown_name('section', name, sections)}")
            if not isinstance(values, Mapping):
                raise ConfigError(f"{source}: {name} must be a section, [{name}], got {values!r}")
        keys = {name: [f.name for f in dataclasses.fields(section)] for name, section in sections.items()}
        try:
            changes = by_key(changes, keys)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        for name, values in changes.items():
            sections[name] = _replace(sections[name], name, keys[name], values, source=source)
        return Config(**sections)


def _replace(section: Any, name: str, keys: list[str], values: Mapping[str, Any], *, source: str) -> Any:
    for key in values:
        if key == "base":
            raise ConfigError(f"{source}: base names the preset; it must stand above the first [section]")
        if key not in keys:
            raise ConfigError(f"{source}: {unknown_name(f'key of [{name}]', key, keys)}")
    try:
        return dataclasses.replace(section, **values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


@cache
def preset_texts() -> dict[str, str]:
    """The parameter files that ship with cnnreg, by name."""
    files = sorted(resources.files("cnnreg").joinpath("presets").iterdir(), key=lambda file: file.name)
    return {Path(f.name).stem: f.read_text(encoding="utf-8") for f in files if f.name.endswith(".toml")}


def preset(name: str) -> Config:
    """A shipped preset; an unknown name is an error."""
    texts = preset_texts()
    if name not in texts:
        raise UsageError(unknown_name("preset", name, texts))
    values = tomllib.loads(texts[name])
    base = values.pop("base", None)
    return (preset(base) if base else Config()).override(values, source=f"preset {name}")


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """What a TOML file says; ``kind`` is what errors call it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the {kind} {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a TOML {kind}: {of_other_tool(path) or error}") from None


def read_parameters(path: Path) -> tuple[Config, set[str]]:
    """A TOML parameter file, and the names of the sections that it changes.

    What it does not say is taken from the preset named by its key ``base``, or from ``default``.
    """
    values = read_toml(path, "parameter file")
    base = preset(str(values.pop("base", "default")))
    config = base.override(values, source=str(path))
    return config, {name for name in values if getattr(config, name) != getattr(base, name)}


def preset_file(name: str) -> str:
    """A preset as a complete parameter file, each key with its meaning: to be saved, edited, and given with -p."""
    config = preset(name)
    lines = [f'base = "{name}"', ""]
    for f in dataclasses.fields(config):
        section = getattr(config, f.name)
        lines += [f"# {(type(section).__doc__ or '').strip()}", f"[{f.name}]"]
        for key in dataclasses.fields(section):
            value = json.dumps(getattr(section, key.name))
            lines.append(f"{f'{key.name} = {value}':<32} # {key.metadata['help']}")
        lines.append("")
    return "\n".join(lines)
