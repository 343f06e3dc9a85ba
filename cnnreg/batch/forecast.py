"""What a batch will take of the disk, told before it begins."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cnnreg.batch.task import Task
from cnnreg.errors import CnnregError
from cnnreg.pairs.dataset import read_intensities
from cnnreg.pipeline.report import PIECES

SAMPLES = 3  # pairs that are looked at
MANY = 200  # pairs, from which on no pictures are drawn unless they are asked for
FIELD = {False: 8.2, True: 7.4}  # bytes a pixel of a compressed field, float64 (of float32 numbers) and float32
REPORT, PICTURE, PREVIEW, STATUS = 12_000, 700_000, 20_000, 6_000  # bytes


def default_pieces(pairs: int) -> tuple[str, ...]:
    """All, but for long tables no picture."""
    return tuple(piece for piece in PIECES if piece != "picture" or pairs <= MANY)


def expected_bytes(tasks: Sequence[Task]) -> float:
    """Of all results, from the sizes of some of the images; to within a half or so."""
    picked = tasks[:: max(len(tasks) // SAMPLES, 1)][:SAMPLES]
    sizes = [size for task in picked if (size := _bytes_of(task)) is not None]
    return sum(sizes) / len(sizes) * len(tasks) if sizes else 0.0


def _bytes_of(task: Task) -> float | None:
    with suppress(CnnregError, OSError):
        request, expected = task.request, float(STATUS)
        image = read_intensities(request.fixed, slice_index=request.slice_index, with_missing=True)
        pixels = image.grid.size[0] * image.grid.size[1]
        expected += REPORT * ("report" in task.pieces) + PICTURE * ("picture" in task.pieces)
        expected += PREVIEW * ("page" in task.pieces)
        expected += pixels * FIELD[task.single] * (("field" in task.pieces) + task.inverse)
        if "warped" in task.pieces and isinstance(request.fixed, Path):
            expected += min(request.fixed.stat().st_size, image.pixels.nbytes)
        return expected
    return None


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder, which need not exist yet, lies or would lie on."""
    return shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free


def readable(size: float) -> str:
    """``1.2 GB``."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    unit = units[0]
    return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
