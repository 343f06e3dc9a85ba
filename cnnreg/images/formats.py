"""The image file formats: how to recognise them, and what each can hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnreg.errors import ImageError
from cnnreg.memory import available


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    io: str  # SimpleITK's name for its reader
    types: str = "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8"  # pixel types that survive writing
    geometry: bool = True


FORMATS = {
    "png": Format("PNGImageIO", "u1 u2", geometry=False),
    "jpeg": Format("JPEGImageIO", "", geometry=False),  # lossy: results are written as PNG instead
    "bmp": Format("BMPImageIO", "u1", geometry=False),
    "tiff": Format("TIFFImageIO", "u1 i1 u2 i2 f4", geometry=False),
    "nifti": Format("NiftiImageIO"),
    "meta": Format("MetaImageIO"),
    "nrrd": Format("NrrdImageIO"),
    "dicom": Format("GDCMImageIO", ""),  # results are no DICOM series: written as MetaImage
}
TITLES = {name: name.upper() for name in FORMATS} | {"nifti": "NIfTI", "meta": "MetaImage"}


def sniff(head: bytes) -> str | None:
    """The format of a file by its first bytes, whatever its name says; None if it is none of ours."""
    if head[128:132] == b"DICM":  # what stands before it is the writer's own, such as a whole TIFF header
        return "dicom"
    starts = {
        b"\x89PNG\r\n": "png",
        b"\xff\xd8\xff": "jpeg",
        b"BM": "bmp",
        b"II*\0": "tiff",
        b"MM\0*": "tiff",
        b"II+\0": "tiff",
        b"NRRD000": "nrrd",
        b"\x1f\x8b": "nifti",  # .nii.gz
        b"\x5c\x01\0\0": "nifti",
        b"\0\0\x01\x5c": "nifti",
        b"\x1c\x02\0\0": "nifti",  # NIfTI-2
        b"\0\0\x02\x1c": "nifti",
    }
    for start, name in starts.items():
        if head.startswith(start):
            return name
    if b"ObjectType" in head or b"NDims" in head:
        return "meta"
    return None


def check_size(path: Path, size: Sequence[int]) -> None:
    """Refuse a file that claims more pixels than the machine's memory has bytes, before any is taken.

    Raises:
        ImageError: it does.
    """
    memory = available()
    if math.prod(size) > memory:
        claimed = " x ".join(str(n) for n in size)
        raise ImageError(
            f"{path} claims to be {claimed} pixels, more than the {memory / 2**30:.0f} GiB of memory that there are; "
            f"the file is damaged, or a smaller level or part of it is needed"
        )
