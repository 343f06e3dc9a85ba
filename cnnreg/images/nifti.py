"""NIfTI files whose place in space SimpleITK refuses or cuts off, by NiBabel."""

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.errors import FileNotice

NIFTI_2 = b"\x1c\x02\0\0", b"\0\0\x02\x1c"
SHEAR = 1e-3  # cosine between two axes, from which on they are not at right angles
TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's axes point right, anterior, superior; ITK's left, posterior, superior


def is_misplaced_by_itk(path: Path) -> bool:
    """Whether SimpleITK refuses or cuts off its place in space.

    Of two dimensions it keeps but a corner of the direction; a sheared sform it refuses, or replaces without a word.
    """
    try:
        head = _content(path, 348)
    except (OSError, EOFError):
        return False
    if len(head) < 348:
        return False
    if head[:4] in NIFTI_2:
        return True
    order = "<" if head[:4] == b"\x5c\x01\0\0" else ">"
    if np.frombuffer(head[40:42], f"{order}i2")[0] == 2:
        return True
    coded = np.frombuffer(head[254:256], f"{order}i2")[0] > 0
    return bool(coded and _shear(np.frombuffer(head[280:328], f"{order}f4").reshape(3, 4)) > SHEAR)


def read_nifti(path: Path, _name: str | None) -> sitk.Image:
    """NIfTI-1 or NIfTI-2, at least 3D; where its frame is sheared, the nearest one that is not."""
    import nibabel

    content = _content(path)
    kind = nibabel.Nifti2Image if content[:4] in NIFTI_2 else nibabel.Nifti1Image
    image = kind.from_bytes(content)
    stored = np.asanyarray(image.dataobj)
    if stored.ndim == 2:
        stored = stored[..., None]
    colour = stored.dtype.fields is not None
    if colour:
        stored = np.stack([stored[name] for name in stored.dtype.names], -1)
    axes = list(reversed(range(stored.ndim - colour)))
    pixels = stored.transpose([*axes, stored.ndim - 1] if colour else axes)
    result = sitk.GetImageFromArray(np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="))), colour)
    spacing, direction, origin = _frame(_affine(image, path))
    more = result.GetDimension() - 3  # time, and what else there is
    result.SetSpacing([*spacing, *[1.0] * more])
    result.SetOrigin([*origin, *[0.0] * more])
    whole = np.eye(3 + more)
    whole[:3, :3] = direction
    result.SetDirection(whole.ravel().tolist())
    return result


def _affine(image: Any, path: Path) -> NDArray[Any]:
    """The sform, or else the qform; a sheared sform gives way to the qform, whose axes are at right angles."""
    affine = image.affine
    across = _shear(affine)
    if across < SHEAR:
        return affine
    qform = image.get_qform(coded=True)[0]
    taken = "the nearest frame with right angles" if qform is None else "its qform"
    warnings.warn(
        f"{path}: the axes of its sform are not at right angles (by up to {np.degrees(np.arcsin(min(across, 1))):.1f} "
        f"degrees); {taken} is used instead",
        FileNotice,
        stacklevel=2,
    )
    return affine if qform is None else qform


def _shear(affine: NDArray[Any]) -> float:
    """The largest cosine of an angle between two axes."""
    axes = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-12)
    cosines = axes.T @ axes
    return float(np.abs(cosines - np.diag(np.diag(cosines))).max())


def _frame(affine: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Spacing, orthonormal direction and origin, as ITK has them, of a NIfTI affine (4, 4)."""
    linear = TO_LPS @ affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    spacing[spacing == 0] = 1
    left, _, right = np.linalg.svd(linear / spacing)
    return spacing, left @ right, TO_LPS @ affine[:3, 3]


def _content(path: Path, length: int = -1) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as source:
        return bytes(source.read(length))
