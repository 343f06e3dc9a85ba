"""NIfTI files whose place in space SimpleITK refuses or cuts off, by NiBabel."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's axes point right, anterior, superior; ITK's left, posterior, superior


def is_flat(path: Path) -> bool:
    """Whether it says that it has two dimensions: SimpleITK then keeps but a corner of its direction in space."""
    try:
        head = _content(path, 48)
    except (OSError, EOFError):
        return False
    if len(head) < 48:
        return False
    order = "<" if head[:4] in {b"\x5c\x01\0\0", b"\x1c\x02\0\0"} else ">"
    if head[:4] in {b"\x1c\x02\0\0", b"\0\0\x02\x1c"}:
        return bool(np.frombuffer(head[16:24], f"{order}i8")[0] == 2)
    return bool(np.frombuffer(head[40:42], f"{order}i2")[0] == 2)


def read_nifti(path: Path, _name: str | None) -> sitk.Image:
    """NIfTI-1 or NIfTI-2, at least 3D; where its frame is sheared, the nearest one that is not."""
    import nibabel

    content = _content(path)
    kind = nibabel.Nifti2Image if content[:4] in {b"\x1c\x02\0\0", b"\0\0\x02\x1c"} else nibabel.Nifti1Image
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
    if result.GetDimension() == 3:
        spacing, direction, origin = _frame(image.affine)
        result.SetSpacing(spacing.tolist())
        result.SetDirection(direction.ravel().tolist())
        result.SetOrigin(origin.tolist())
    return result


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
