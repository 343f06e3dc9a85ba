"""``cnnreg strain``: a field and a mask in; maps, means by segment and a picture out."""

import csv
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cnnreg.config import InputConfig
from cnnreg.errors import ImageError, UsageError
from cnnreg.evaluation.picture import draw_strain
from cnnreg.files import publishing, write_text
from cnnreg.geometry.strain import Segment, centroid, green_lagrange, polar, segments, wall
from cnnreg.images.image import Image, read_field, write_image
from cnnreg.pairs.dataset import read_intensities
from cnnreg.pairs.intensities import normalise
from cnnreg.pairs.labelmaps import read_label_map
from cnnreg.pipeline.system import describe_run

MAPS, TABLE, PICTURE, REPORT = "strain.mha", "strain.csv", "strain.png", "strain.json"
RESULTS = (MAPS, TABLE, PICTURE, REPORT)


@dataclass(frozen=True)
class StrainRequest:
    """What ``cnnreg strain`` was asked for."""

    field: Path
    seg: Path
    image: Path | None = None
    label: int | None = None
    wall: float | None = None  # physical units
    segments: int = 6
    start: float = 0.0  # degrees
    label_threshold: float | None = None  # makes a mask of what has soft edges


def measure_strain(
    request: StrainRequest, folder: Path, *, command: list[str], overwrite: bool = True
) -> list[Segment]:
    """Strain in a mask, or in the wall around it, about the mask's centroid; writes ``RESULTS`` to ``folder``."""
    field, grid = read_field(request.field)
    grid = grid.orthonormal
    labels, own = read_label_map(request.seg, threshold=request.label_threshold)
    if own.size != grid.size:
        raise ImageError(
            f"{request.seg} is {own.size[1]}x{own.size[0]} pixels but the field is {grid.size[1]}x{grid.size[0]}; "
            f"the mask must lie on the fixed image"
        )
    mask = labels != 0 if request.label is None else labels == request.label
    if not mask.any():
        raise ImageError(f"{request.seg} has no pixel of {f'label {request.label}' if request.label else 'any label'}")
    background = None
    if request.image:
        image = read_intensities(request.image)
        if image.grid.size != grid.size:
            raise ImageError(f"{request.image} has not as many pixels as the field; give the fixed image")
        background = normalise(image.pixels, InputConfig(), name=str(request.image))
    center = centroid(mask, grid)
    region = mask if request.wall is None else wall(mask, grid, request.wall)
    if not region.any():
        raise UsageError(f"no pixel lies within {request.wall:g} of the mask; give a larger --wall")
    strains = polar(green_lagrange(field, grid), grid, center)
    found = segments(strains, region, grid, center, count=request.segments, start=request.start)
    total = found[-1]
    where = f"a wall of {request.wall:g} {grid.unit} around {request.seg.name}" if request.wall else request.seg.name
    caption = [
        f"Green-Lagrange strain in {where}, {total.pixels} pixels",
        f"mean radial {total.radial:+.3f},   circumferential {total.circumferential:+.3f},   shear {total.shear:+.3f}",
    ]
    picture = draw_strain(
        image=background, strains=strains, region=region, heading=f"Strain of {request.field.name}", caption=caption
    )
    with publishing(folder, replaces=RESULTS, overwrite=overwrite) as staging:
        maps = np.moveaxis(np.where(region, np.nan_to_num(strains), 0), 0, 2).astype(np.float32)
        write_image(Image(maps, grid), staging / MAPS)
        with (staging / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(total)))
            writer.writeheader()
            for segment in found:
                row = asdict(segment).items()
                writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row})
        picture.save(staging / PICTURE)
        write_text(json.dumps(_report(request, command), indent=2) + "\n", staging / REPORT)
    return found


def _report(request: StrainRequest, command: list[str]) -> dict[str, object]:
    """What was asked for, and the files."""
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}
    return {**describe_run(command), **asked, "files": RESULTS}
