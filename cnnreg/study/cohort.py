"""A data set as the study sees it: tables of pairs to train on and to test on, described by a small TOML file."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cnnreg.config import InputConfig, read_toml
from cnnreg.errors import ConfigError, unknown_name
from cnnreg.files import sha256
from cnnreg.images.image import Grid, Image
from cnnreg.pairs.dataset import (
    Pair,
    at_size,
    load_pair,
    read_intensities,
    read_pairs,
    read_singles,
    read_table,
)
from cnnreg.pairs.labelmaps import read_labels
from cnnreg.pairs.mirroring import mirror_affine, mirror_pair

PLAIN = InputConfig()  # smallest intensity 0, largest 1: what MAD is measured in


@dataclass(frozen=True)
class Cohort:
    """Image pairs of one kind, split by patient into training and test."""

    name: str
    train: Path
    test: Path
    validation: Path | None = None  # picks the best step of the training
    mirror: bool = False  # each image against its own mirror image, after affine alignment
    group: str = ""  # column of the test table that tells patients apart
    size: int = 0  # the test pairs are brought to squares of this side; 0 = as they are
    spacing: tuple[float, float] | None = None  # (row, column) in mm at that size, for files that do not say
    labels: dict[int, str] = field(default_factory=dict)  # label -> name

    def identity(self) -> dict[str, Any]:
        """What decides the results, for comparison with an earlier run's."""
        return (
            {
                "name": self.name,
                "mirror": self.mirror,
                "size": self.size,
                "spacing": list(self.spacing) if self.spacing else None,
                "labels": {str(label): name for label, name in self.labels.items()},
            }
            | {"validation": None}
            | {part: sha256(path) for part, path in self.tables().items()}
        )

    def tables(self) -> dict[str, Path]:
        """Those that there are, by part: train, test, and perhaps validation."""
        tables = {"train": self.train, "test": self.test, "validation": self.validation}
        return {part: table for part, table in tables.items() if table}

    def check(self) -> Iterator[Path]:
        """Read every file once, so that a fault shows before hours of work; yields what has been read.

        Raises:
            CnnregError: of the first file that cannot be used.
        """
        self.groups()
        for row in [row for part in self.tables() for row in self.rows(part)]:
            if self.mirror:
                image = read_intensities(row[0])
                _ = read_labels(row[1], image.grid) if row[1] else None
            else:
                load_pair(row, PLAIN)
            yield row[0] if self.mirror else row.fixed

    def rows(self, part: str) -> list[Any]:
        """The files of every pair, or image with its label map, of "train", "test" or "validation"."""
        table: Path = getattr(self, part)
        return list(read_singles(table) if self.mirror else read_pairs(table))

    def groups(self) -> list[str]:
        """The patient of every test pair; without a column for it, each pair is its own."""
        rows = read_table(self.test, [self.group] if self.group else [])
        return [row[self.group] if self.group else str(number) for number, row in enumerate(rows, start=1)]


def read_cohort(path: Path) -> Cohort:
    """Read a description; tables are relative to its folder."""
    values = read_toml(path, "data set description")
    keys = ("name", "train", "test", "validation", "mirror", "group", "size", "spacing", "labels")
    for key in values:
        if key not in keys:
            raise ConfigError(f"{path}: {unknown_name('key', key, keys)}")
    if missing := [key for key in ("train", "test") if key not in values]:
        raise ConfigError(f"{path} must name the table {' and the table '.join(missing)} (CSV)")
    tables = {part: path.parent / _typed(values, part, str, path) for part in ("train", "test")}
    validation = _typed(values, "validation", str, path)
    spacing = _typed(values, "spacing", list, path)
    if spacing is not None and not (len(spacing) == 2 and all(isinstance(s, int | float) and s > 0 for s in spacing)):
        raise ConfigError(f"{path}: spacing must be [x, y] in mm, two numbers above 0, got {spacing}")
    labels = _typed(values, "labels", dict, path) or {}
    if not all(label.isdecimal() and isinstance(name, str) for label, name in labels.items()):
        raise ConfigError(f'{path}: [labels] must be lines like 1 = "left lung", got {labels}')
    return Cohort(
        name=_typed(values, "name", str, path) or path.stem,
        **tables,
        validation=path.parent / validation if validation else None,
        mirror=bool(_typed(values, "mirror", bool, path)),
        group=_typed(values, "group", str, path) or "",
        size=_typed(values, "size", int, path) or 0,
        spacing=(float(spacing[1]), float(spacing[0])) if spacing else None,
        labels={int(label): name for label, name in labels.items()},
    )


def _typed(values: dict[str, Any], key: str, kind: type, path: Path) -> Any:
    value = values.get(key)
    if value is not None and not isinstance(value, kind):
        expected = {str: "text", int: "a whole number", list: "a list", bool: "true or false", dict: "a section"}[kind]
        raise ConfigError(f"{path}: {key} must be {expected}, got {value!r}")
    return value


class Loader:
    """Pairs of a cohort under different treatments of intensities, with the same alignment and label maps."""

    def __init__(self, cohort: Cohort, part: str) -> None:
        self.cohort, self.rows = cohort, cohort.rows(part)
        self._seen: tuple[int, dict[InputConfig, Pair], Any] = (-1, {}, None)

    def __call__(self, index: int, config: InputConfig = PLAIN) -> Pair:
        if self._seen[0] != index:
            self._seen = (index, {}, None)
        _, pairs, affine = self._seen
        if config not in pairs:
            if self.cohort.mirror:
                path, seg = self.rows[index]
                image = read_intensities(path)
                affine = mirror_affine(image, PLAIN, name=str(path)) if affine is None else affine
                labels = read_labels(seg, image.grid) if seg else None
                pair = mirror_pair(image, labels, config, affine=affine, name=str(path))
            else:
                pair = load_pair(self.rows[index], config)
            pairs[config] = self._fitted(pair)
            self._seen = (index, pairs, affine)
        return pairs[config]

    def _fitted(self, pair: Pair) -> Pair:
        """At the cohort's size and spacing."""
        size, spacing = self.cohort.size, self.cohort.spacing
        if size:
            pair = at_size(pair, size)
            grid = Grid((size, size))
            fixed, moving = (Image(x[0, 0].numpy(), grid) for x in (pair.fixed_input, pair.moving_input))
            pair = replace(pair, fixed=fixed, moving=moving, moving_own=pair.moving_input, mask=None)
        if spacing:
            fixed, moving = (
                replace(image, grid=Grid(image.grid.size, spacing[::-1], unit="mm")) if image.grid.plain else image
                for image in (pair.fixed, pair.moving)
            )
            pair = replace(pair, fixed=fixed, moving=moving)
        return pair
