"""A registration on disk: warped image, field, report, picture; written together or not at all."""

import hashlib
import json
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnreg.engine.initial import Initial
from cnnreg.engine.verdict import Verdict, advice
from cnnreg.evaluation.tables import summary
from cnnreg.files import PAGE, PREVIEW, REPORT, claim_results, publishing, sha256
from cnnreg.geometry.decomposition import decompose
from cnnreg.geometry.transformfile import write_affine
from cnnreg.images.image import Grid, Image, suffix_for, write_field, write_image
from cnnreg.learning.modelcards import Model
from cnnreg.pipeline.assessment import UNREAL
from cnnreg.pipeline.registration import Inverse, Registration
from cnnreg.pipeline.seen import seen
from cnnreg.pipeline.system import describe_run

DRAWN = 1360  # pixels of the longer side from which the picture is drawn: four times those of a panel
FIELD, INVERSE, AFFINE = "field.mha", "inverse.mha", "affine.tfm"
PICTURE = "report.png"
PIECES = ("warped", "field", "report", "picture", "page")  # what can be left out
RESULTS = (FIELD, INVERSE, AFFINE, REPORT, PICTURE, PAGE, PREVIEW, "warped.*")
FIELD_CONVENTION = (
    "ITK displacement field on the fixed image's grid; (x, y) components in the fixed image's physical units; "
    "a point p of the fixed image lies at p + field(p) in the moving image"
)
STARTS = {"network": "the prediction", "identity": "the identity", "coarse": "a coarse search"}
INVERSE_CONVENTION = (
    "ITK displacement field on the moving image's grid; (x, y) components in the moving image's physical units; "
    "a point q of the moving image lies at q + inverse(q) in the fixed image"
)


def claim_folder(folder: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Make sure, before any work, that results can be written to ``folder``; other files in it are left alone.

    Raises:
        OutputError: it is a file, cannot be made or written, holds results and ``overwrite`` is off, or an input or
            another file lies where a result would go.
    """
    claim_results(folder, RESULTS, overwrite=overwrite, inputs=inputs)


def write_registration(
    result: Registration,
    folder: Path,
    *,
    command: list[str],
    overwrite: bool = True,
    single: bool = False,
    pieces: Collection[str] = PIECES,
    home: Path | None = None,
) -> list[Path]:
    """Write everything into a temporary folder, then move it into ``folder``, replacing earlier results.

    ``single``: fields as float32 instead of float64. ``pieces``: what is written, of :data:`PIECES`. ``home``: the
    folder's name in the report, if it is to be renamed.
    """
    start = time.perf_counter()
    grid = result.pair.fixed.grid
    warped_name = f"warped{suffix_for(result.warped, grid)}"
    names = [
        *([warped_name] if "warped" in pieces else []),
        *([FIELD] if "field" in pieces else []),
        *([INVERSE] if result.inverse else []),
        *([AFFINE] if result.initial.affine_needed else []),
        *([REPORT] if "report" in pieces else []),
        *([PICTURE] if "picture" in pieces else []),
        *([PAGE] if "page" in pieces else []),
    ]
    number_type = np.float32 if single else np.float64
    with publishing(folder, replaces=RESULTS, overwrite=overwrite) as staging:
        if warped_name in names:
            write_image(result.warped, staging / warped_name)
        if FIELD in names:
            write_field(result.field[0].numpy(), grid, staging / FIELD, number_type=number_type)
        if result.inverse:
            back, back_grid = result.inverse.field[0].numpy(), result.pair.moving.grid
            write_field(back, back_grid, staging / INVERSE, number_type=number_type)
        if result.initial.affine_needed:
            write_affine(result.initial.affine, grid, result.pair.moving.grid, staging / AFFINE)
        if PICTURE in names:
            picture(result).save(staging / PICTURE, compress_level=2)  # zlib at 6 takes as long as all the rest
        result.seconds["write"] = time.perf_counter() - start
        if REPORT in names or PAGE in names:
            report = describe(result, command=command, files=[str((home or folder) / name) for name in names])
        if REPORT in names:
            (staging / REPORT).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if PAGE in names:
            from cnnreg.pipeline.preview import write_page_of

            links = tuple((name, name) for name in names if name != PAGE)
            write_page_of(result, report, staging / PAGE, links=links)
    return [folder / name for name in names]


def describe(result: Registration, *, command: list[str], files: list[str]) -> dict[str, Any]:
    """The report: what went in, what was done with it, on what, how long it took, and how well it went.

    Its keys are those of ``report.schema.json``.
    """
    config, request = result.setup.config, result.request
    inputs: dict[str, Any] = {"fixed": request.fixed, "moving": request.moving}
    for name, sources in (("seg_{}", request.segs), ("{}_mask", request.masks), ("points_{}", request.points)):
        inputs |= {name.format(which): s for which, s in zip(("fixed", "moving"), sources or (), strict=False)}
    inputs["initial"] = request.transform
    one_shot = result.one_shot
    adaptation: dict[str, Any] = {"steps": config.adaptation.steps, "target": config.adaptation.target}
    if one_shot:
        adaptation |= {
            "similarity": one_shot.similarity,
            **({"transform": one_shot.transform, "evidence": one_shot.evidence} if one_shot.transform else {}),
            "start": one_shot.start,
            "best_step": one_shot.best_step,
            "history": one_shot.history,
        }
    return {
        **describe_run(command),
        "inputs": {name: _describe_input(source) for name, source in inputs.items() if source is not None},
        "intensities": dict(zip(("fixed", "moving"), result.pair.windows or (), strict=False)),  # that become 0 and 1
        "model": describe_model(result.model),
        "parameters": config.as_dict(),
        "seed": result.setup.seed,
        "device": {"asked": result.setup.device, "used": result.device, "threads": result.threads},
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
        "alignment": _describe_alignment(result.initial, config.alignment.init, result.pair.fixed.grid),
        "padding_percent": {
            name: 100 * share for name, share in zip(("fixed", "moving"), result.pair.padding, strict=True)
        },
        "field": {"file": FIELD, "convention": FIELD_CONVENTION},
        **({"inverse": _describe_inverse(result.inverse)} if result.inverse else {}),
        **({"verdict": describe_verdict(result.verdict)} if result.verdict else {}),
        "metrics": result.measures,
        "notes": list(result.notes),
        "adaptation": adaptation,
        "files": files,
    }


def _describe_input(source: Path | Image | NDArray[Any]) -> dict[str, Any]:
    """Path and hash; of what was given in memory no path, and the hash of its values."""
    if isinstance(source, Path):
        return {"path": str(source), "sha256": sha256(source)}
    values = source.pixels if isinstance(source, Image) else source
    return {"path": None, "sha256": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()}


def _describe_alignment(initial: Initial, method: str, grid: Grid) -> dict[str, Any]:
    """What was done about the initial transform, and why; numbers are against the geometry of the files."""
    told: dict[str, Any] = {"method": method, "how": initial.how}
    if initial.affine_needed:
        relative = initial.given.inverse().after(initial.affine)
        parts = decompose(relative, grid.size, (grid.spacing[1], grid.spacing[0]))
        told |= {
            "mirrored": initial.mirrored,
            "rotation_degrees_clockwise": parts.rotation,
            "scale": parts.scale,
            "stretch": parts.stretch,
            "translation_px": parts.translation,  # x, y
        }
        told |= {"file": AFFINE, "convention": "ITK transform of points of the fixed image to the moving image"}
    return told


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """Whether the registration went well, with the probability that its median error is under 1 % of the diagonal."""
    evidence = verdict.evidence
    return {
        "class": verdict.name,
        "probability": round(verdict.probability, 4),
        "reasons": list(verdict.reasons),
        "agreeing_matches_percent": 100 * evidence.share,
        "matches": evidence.matches,
        "residual_px": round(evidence.residual, 3),
        "inconsistency_px": round(evidence.inconsistency, 3),
        "supported_percent": 100 * evidence.coverage,
    }


def _describe_inverse(inverse: Inverse) -> dict[str, Any]:
    """How far there and back ends from where it began, over the pixels that come from the fixed image."""
    residual = inverse.residual[inverse.covered]
    return {
        "file": INVERSE,
        "convention": INVERSE_CONVENTION,
        "covered_percent": 100 * inverse.covered.float().mean().item(),
        "residual_mean_px": residual.mean().item() if len(residual) else None,
        "residual_max_px": residual.max().item() if len(residual) else None,
    }


def describe_model(model: Model) -> dict[str, Any]:
    """The model's name and hash."""
    return {
        "name": model.card.name,
        "path": str(model.path) if model.path else None,
        "sha256": model.card.sha256 or None,
    }


def how(result: Registration) -> str:
    """What was done to the pair, in a few words."""
    if not result.one_shot:
        return "prediction only"
    steps, target = result.setup.config.adaptation.steps, result.setup.config.adaptation.target
    metric = result.one_shot.similarity
    if target == "weights":
        return f"{steps} iterations on the weights by {metric} (best after {result.one_shot.best_step})"
    if metric == "none":
        return "no iterations on the field: held-out blocks of the images gain nothing by any"
    return f"{steps} iterations on the field by {metric} (from {STARTS[result.one_shot.start]})"


def _remarks(result: Registration, dropped: bool) -> list[str]:
    """Sentences for the picture: why the verdict, what to do next, what became of the field."""
    verdict = result.verdict
    said = [*verdict.reasons, f"what to do: {further}" if (further := advice(verdict)) else ""] if verdict else []
    return [f"{text[0].upper()}{text[1:]}." for text in (*said, UNREAL if dropped else "") if text]


def picture(result: Registration) -> Any:
    """The panels of a result; large images are shrunk first."""
    from cnnreg.evaluation.picture import draw_registration  # with Pillow, for those who draw

    width, height = result.pair.fixed.grid.size[::-1]
    fixed_name, moving_name = (Path(name).name for name in result.request.names)
    verdict, dropped = result.verdict, UNREAL in result.notes
    return draw_registration(
        **vars(seen(result, DRAWN)),
        verdict=(verdict.name, verdict.probability) if verdict else None,
        remarks=_remarks(result, dropped),
        heading=f"{moving_name} registered to {fixed_name}",
        caption=[
            f"model {result.model.card.name}, {how(result)}, {width} x {height} pixels, {result.device}",
            f"initial transform: {result.initial.how}",
            summary(result.measures),
        ],
        energies=[(terms["total"], terms.get("level", 1.0)) for terms in result.one_shot.history]
        if result.one_shot and not dropped
        else [],
    )
