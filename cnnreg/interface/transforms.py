"""Fields and affine transforms on disk, as ``cnnreg apply`` and ``cnnreg transform`` use them; files in, files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cnnreg.pipeline import transformation as pipeline
from cnnreg.pipeline.application import Application, apply_field
from cnnreg.pipeline.reading import Spacing

File: TypeAlias = str | Path
Told: TypeAlias = dict[str, float]  # what is to be known of a result


def apply(
    field: File,
    images: Sequence[File] = (),
    *,
    out: File = ".",
    points: File | None = None,
    moving_points: File | None = None,
    labels: bool = False,
    physical: bool = False,
    moving: File | None = None,
    reference: File | None = None,
    slice_index: int | None = None,
    label_threshold: float | None = None,
    spacing: Spacing | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Warp images of the moving image's space with a field, and transform tables of points; returns the files written.

    In ``out``: ``NAME_warped`` with the image's own suffix, and ``NAME_transformed.csv``. (In memory: ``Field.apply``.)

    Args:
        points, moving_points: of the fixed image, to be transformed to the moving one; and the other way.
        labels: take the nearest pixel; ``label_threshold`` makes masks of the label maps.
        moving: the image whose geometry images and points have where their own files do not say.
        reference: the image on whose grid the results lie, instead of the field's.

    Raises:
        CnnregError: something cannot be read, does not overlap, has no effect, or would replace a file.
    """
    wanted = Application(
        Path(field),
        Path(out),
        tuple(map(Path, images)),
        _path(points),
        _path(moving_points),
        labels=labels,
        physical=physical,
        moving=_path(moving),
        reference=_path(reference),
        slice_index=slice_index,
        label_threshold=label_threshold,
        spacing=spacing,
        overwrite=overwrite,
    )
    return apply_field(wanted)


def describe(
    transform: File, *, source: str | None = None, fixed: File | None = None, moving: File | None = None
) -> dict[str, Any]:
    """The kind, geometry, length and folding of a transform; ``source`` is its convention, where its name does not say.

    ``fixed`` and ``moving`` are the images, for conventions that do not hold their geometry.
    """
    read = pipeline.read_transform(Path(transform), kind=source, like=_path(fixed), moving=_path(moving))
    return pipeline.describe(read)


def invert(
    transform: File, out: File, *, reference: File | None = None, overwrite: bool = False
) -> tuple[list[Path], Told]:
    """Write the inverse, on the grid of ``reference``, the moving image; also the inverse consistency error."""
    like = _path(reference)
    pipeline.claim_file(Path(out), overwrite=overwrite, inputs=[Path(transform), like])
    inverse, told = pipeline.invert(pipeline.read_transform(Path(transform)), like=like)
    return pipeline.write_transform(inverse, Path(out)), told


def compose(
    transforms: Sequence[File], out: File, *, reference: File | None = None, overwrite: bool = False
) -> list[Path]:
    """Write one transform for several: points of the fixed image go through the first, then the next."""
    paths, like = list(map(Path, transforms)), _path(reference)
    pipeline.claim_file(Path(out), overwrite=overwrite, inputs=[*paths, like])
    whole = pipeline.compose([pipeline.read_transform(path) for path in paths], like=like)
    return pipeline.write_transform(whole, Path(out))


def jacobian(transform: File, out: File, *, overwrite: bool = False) -> tuple[list[Path], Told]:
    """Write the map of the Jacobian determinant of a field; also its summary."""
    pipeline.claim_file(Path(out), overwrite=overwrite, inputs=[Path(transform)])
    image, told = pipeline.jacobian(pipeline.read_transform(Path(transform)))
    pipeline.save_map(image, Path(out))
    return [Path(out)], told


def convert(
    transform: File,
    out: File,
    *,
    source: str | None = None,
    target: str | None = None,
    fixed: File | None = None,
    moving: File | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a field in another convention: itk, ants, elastix, voxelmorph or scipy; by the names where not given."""
    images = _path(fixed), _path(moving)
    pipeline.claim_file(Path(out), overwrite=overwrite, inputs=[Path(transform), *images])
    read = pipeline.read_transform(Path(transform), kind=source, like=images[0], moving=images[1])
    return pipeline.write_transform(read, Path(out), kind=target, moving=images[1])


def _path(file: File | None) -> Path | None:
    return None if file is None else Path(file)
