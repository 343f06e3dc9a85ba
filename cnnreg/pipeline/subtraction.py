"""``cnnreg csub``: contralateral subtraction, an image minus its own mirror image, registered to it."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.devices import prepare_cpu, resolve_device
from cnnreg.errors import ImageError
from cnnreg.evaluation.measure import Evidence, Measures, measure
from cnnreg.evaluation.picture import draw_subtraction
from cnnreg.files import REPORT, publishing, write_text
from cnnreg.geometry.fields import compose
from cnnreg.geometry.resampling import warp_image
from cnnreg.images.image import Image, suffix_for, write_field, write_image
from cnnreg.pairs.dataset import Pair, read_intensities
from cnnreg.pairs.intensities import luminance
from cnnreg.pairs.labelmaps import Labels, read_labels
from cnnreg.pairs.mirroring import mirror_affine, mirror_pair
from cnnreg.pipeline.registration import deform
from cnnreg.pipeline.setup import Setup, Stopwatch, load
from cnnreg.pipeline.system import describe_run
from cnnreg.watching import UNWATCHED, Watcher

FIELD, DIFFERENCE, PICTURE = "field.mha", "difference.mha", "report.png"
RESULTS = (FIELD, DIFFERENCE, REPORT, PICTURE, "mirror.*")


@dataclass(frozen=True)
class Subtraction:
    """An image, its mirror image laid onto it, and what is left."""

    image: Image
    mirror: Image  # warped, once, through ``field``
    affine: Tensor  # (1, 2, H, W) in pixels: the affine part of it
    field: Tensor  # (1, 2, H, W) in pixels, from the image to its mirror image: affine and deformable, composed
    difference: Image  # image minus mirror in the image's own intensities, float32; 0 outside the mask
    mask: Labels | None
    measures: dict[str, Measures]  # before (mirrored), affine, deformable
    steps: int
    model: str
    seconds: dict[str, float]


def subtract(
    path: Path,
    setup: Setup,
    *,
    seg: Path | None = None,
    label_threshold: float | None = None,
    watcher: Watcher = UNWATCHED,
) -> Subtraction:
    """Mirror, align affinely, register, warp once, subtract.

    ``seg`` is a mask, such as of the lungs, that the difference is restricted to; it does not steer the registration.
    ``label_threshold`` makes a mask of what has soft edges.
    """
    watch = Stopwatch(watcher.stage)
    device = resolve_device(setup.device)
    with watch("model"):
        model, config = load(setup)
    with watch("read"):
        image = read_intensities(path)
        prepare_cpu(setup.threads, pixels=math.prod(image.grid.size))
        mask = read_labels(seg, image.grid, threshold=label_threshold) if seg else None
        if mask is not None and not mask.any():
            raise ImageError(f"the mask {seg} is empty")
    with watch("affine"):
        affine = mirror_affine(image, config.input, name=str(path))
        pair = mirror_pair(image, mask, config.input, affine=affine, name=str(path))
    fields, _ = deform(pair, model, config, device=device, watch=watch, on_step=watcher.step)
    field = list(fields.values())[-1]
    with watch("warp"):
        total = compose(affine, field)
        mirrored = replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]))
        warped = warp_image(mirrored, total, image.grid)
        difference = luminance(image.pixels).astype(np.float32) - luminance(warped.pixels).astype(np.float32)
        if mask is not None:
            difference[mask == 0] = 0
    with watch("measure"):
        measures = _measure(image, mask, affine, field, pair)
    return Subtraction(
        image,
        warped,
        affine,
        total,
        Image(difference, image.grid),
        mask,
        measures,
        config.adaptation.steps,
        model.card.name,
        watch.seconds,
    )


def _measure(image: Image, mask: Labels | None, affine: Tensor, field: Tensor, pair: Pair) -> dict[str, Measures]:
    """Of the mirror image as it is, after affine, and after deformable registration."""
    plain = mirror_pair(image, None, InputConfig(), affine=torch.zeros_like(affine))
    evidence = Evidence(image.grid, image.grid, plain.fixed_input, plain.moving_own)
    measures = {
        "before": measure(evidence, None),
        "affine": measure(evidence, affine),
        "deformable": measure(evidence, compose(affine, field)),
    }
    if mask is not None:
        labelled = replace(evidence, fixed=None, moving=None, seg_fixed=pair.seg_fixed, seg_moving=pair.seg_moving)
        for stage, part in (("affine", None), ("deformable", field)):
            measures[stage]["overlap"] = measure(labelled, part)["overlap"]
    return measures


def write_subtraction(
    result: Subtraction, path: Path, folder: Path, *, command: list[str], overwrite: bool = True
) -> list[Path]:
    """Write the mirror image laid onto the image, the difference, the field, report and picture; all or nothing."""
    suffix = suffix_for(result.mirror, result.image.grid)
    names = [f"mirror{suffix}", DIFFERENCE, FIELD, REPORT, PICTURE]
    report: dict[str, Any] = {
        **describe_run(command),
        "image": str(path),
        "model": result.model,
        "steps": result.steps,
        "difference": "image minus mirror image, in the image's intensities; 0 outside the mask",
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
        "metrics": result.measures,
        "files": [str(folder / name) for name in names],
    }
    with publishing(folder, replaces=RESULTS, overwrite=overwrite) as staging:
        write_image(result.mirror, staging / names[0])
        write_image(result.difference, staging / DIFFERENCE)
        write_field(result.field[0].numpy(), result.image.grid, staging / FIELD)
        picture(result, path).save(staging / PICTURE, compress_level=2)
        write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", staging / REPORT)
    return [folder / name for name in names]


def picture(result: Subtraction, path: Path) -> Any:
    """Image, mirror image, and both differences."""
    image, mirror = (luminance(x.pixels).astype(np.float64) for x in (result.image, result.mirror))
    low, high = np.percentile(image, [0.5, 99.5])
    scale = max(high - low, 1e-12)
    plain = mirror_pair(result.image, None, InputConfig(), affine=result.affine)
    before = (plain.fixed_input - plain.moving_input)[0, 0].numpy() * np.ptp(image) / scale
    region = None if result.mask is None else result.mask != 0
    stages = [f"{name} {m['mad']:.4f}" for name, m in result.measures.items()]
    return draw_subtraction(
        image=((image - low) / scale).clip(0, 1),
        mirror=((mirror - low) / scale).clip(0, 1),
        before=before,
        after=result.difference.pixels / scale,
        region=region,
        heading=f"{path.name} minus its mirror image",
        caption=[
            f"model {result.model}, {result.steps} iterations",
            f"MAE: {',   '.join(stages)};   folding {result.measures['deformable']['folding_percent']:.3f} %",
        ],
    )
