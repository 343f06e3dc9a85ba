"""The study's reference: elastix, B-splines, with parameters chosen by grid search on training pairs.

itk-elastix is an extra: ``pip install 'cnnreg[study]'``.
"""

import csv
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnreg.errors import UsageError
from cnnreg.files import replacing
from cnnreg.watching import unwatched

METRICS = {"ncc": "AdvancedNormalizedCorrelation", "mi": "AdvancedMattesMutualInformation"}


@dataclass(frozen=True)
class ElastixParameters:
    """What the grid search varies; all else is elastix's default B-spline map with four resolutions."""

    metric: str = "ncc"
    spacing: float = 16.0  # pixels between the control points, at the finest resolution
    bending: float = 0.0  # weight of the bending energy
    iterations: int = 500

    def __str__(self) -> str:
        return f"{self.metric}, {self.spacing:g} px, bending {self.bending:g}, {self.iterations} iterations"


GRID = [
    ElastixParameters(metric, spacing, bending)
    for metric, spacing, bending in itertools.product(METRICS, (8.0, 16.0, 32.0), (0.0, 1.0))
]


def require() -> None:
    """Make sure, before any work, that elastix is installed."""
    try:
        version("itk-elastix")
    except PackageNotFoundError:
        raise UsageError("row i needs elastix: pip install 'cnnreg[study]', or leave it out with --rows") from None


def register(fixed: Tensor, moving: Tensor, parameters: ElastixParameters, *, threads: int) -> Tensor:
    """The field (1, 2, H, W) in pixels that lays ``moving`` onto ``fixed``, (1, 1, H, W) each in [0, 1]."""
    import itk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    maps = itk.ParameterObject.New()
    spline = maps.GetDefaultParameterMap("bspline", 4, parameters.spacing)
    metric = METRICS[parameters.metric]
    if parameters.bending:
        spline["Metric"] = [metric, "TransformBendingEnergyPenalty"]
        spline["Metric0Weight"], spline["Metric1Weight"] = ["1.0"], [f"{parameters.bending:g}"]
    else:
        spline["Registration"], spline["Metric"] = ["MultiResolutionRegistration"], [metric]
    spline["MaximumNumberOfIterations"] = [str(parameters.iterations)]
    spline["NumberOfSpatialSamples"] = ["4096"]
    maps.AddParameterMap(spline)
    images = [itk.image_from_array(np.ascontiguousarray(x[0, 0].numpy())) for x in (fixed, moving)]
    _, transform = itk.elastix_registration_method(*images, parameter_object=maps, log_to_console=False)
    with tempfile.TemporaryDirectory() as folder:  # where transformix leaves a file that nobody asked for
        vectors = itk.transformix_deformation_field(images[1], transform, output_directory=folder, log_to_console=False)
    yx = np.ascontiguousarray(itk.array_from_image(vectors)[..., ::-1], dtype=np.float32)
    return torch.from_numpy(yx).permute(2, 0, 1)[None]


def search(
    score: Callable[[ElastixParameters], float], table: Path, *, on_step: Callable[[str], None] = unwatched
) -> ElastixParameters:
    """The parameters of the highest score, of all in ``GRID``; scores go to ``table``, which a later run reads."""
    scores = dict(_read(table)) if table.exists() else {}
    for parameters in GRID:
        if parameters not in scores:
            scores[parameters] = score(parameters)
            _write(scores, table)
        on_step(str(parameters))
    return max(GRID, key=lambda parameters: scores[parameters])


def _read(table: Path) -> Iterator[tuple[ElastixParameters, float]]:
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield (
                ElastixParameters(row["metric"], float(row["spacing"]), float(row["bending"]), int(row["iterations"])),
                float(row["score"]),
            )


def _write(scores: dict[ElastixParameters, float], table: Path) -> None:
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*asdict(GRID[0]), "score"])
        writer.writeheader()
        writer.writerows(asdict(parameters) | {"score": score} for parameters, score in scores.items())
