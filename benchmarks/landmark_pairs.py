"""Real pairs with corresponding landmarks, of ``any_pair`` in ../shared/data: files, maps and errors."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnreg.config import Config
from cnnreg.geometry.affine import Affine
from cnnreg.images.padding import content
from cnnreg.pairs.dataset import Pair, make_pair, read_intensities, read_landmarks
from cnnreg.pairs.intensities import normalise


@dataclass(frozen=True)
class LandmarkPair:
    """Two images and where the same points lie in both, (N, 2) each, rows and columns in pixels."""

    name: str
    kind: str
    fixed: Path
    moving: Path
    points: np.ndarray
    targets: np.ndarray

    def best_affine(self) -> Affine:
        """Of the landmarks themselves, by least squares."""
        design = np.concatenate([self.points, np.ones((len(self.points), 1))], 1)
        solution = np.linalg.lstsq(design, self.targets, rcond=None)[0]
        return Affine(solution[:2].T, solution[2])

    def load(self, initial: Affine | None, config: Config) -> Pair:
        """As ``cnnreg register`` would, with ``initial`` as the map from fixed to moving pixels."""
        images = read_intensities(self.fixed), read_intensities(self.moving)
        inputs = tuple(normalise(image.pixels, config.input) for image in images)
        regions = tuple(content(pixels) if config.alignment.padding == "auto" else None for pixels in inputs)
        return make_pair(*images, config.input, initial=initial, regions=regions, inputs=inputs)


def landmark_pairs(data: Path, kinds: Sequence[str] = (), part: str = "all") -> list[LandmarkPair]:
    """Those of ``data/any_pair``; of each kind every other one with ``part`` "tune", and the rest with "confirm"."""
    folder, counts, pairs = data / "any_pair", dict[str, int](), []
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        kind = row["kind"]
        counts[kind] = counts.get(kind, -1) + 1
        if (kinds and kind not in kinds) or part not in {"all", "confirm" if counts[kind] % 2 else "tune"}:
            continue
        points = read_landmarks(folder / row["points_fixed"], folder / row["points_moving"])
        pairs.append(LandmarkPair(row["pair_id"], kind, folder / row["fixed"], folder / row["moving"], *points))
    return pairs
