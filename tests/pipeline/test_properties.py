"""Random images of any size, type and geometry through register, apply and evaluate: what must always hold."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnreg.cli.main import run
from cnnreg.images.image import read_field, read_image
from tests.conftest import smooth_image

TYPES = [np.uint8, np.uint16, np.int16, np.float32]
SIZES = st.tuples(st.integers(16, 70), st.integers(16, 70))
GEOMETRIES = st.tuples(
    st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    st.floats(-3.1, 3.1),
)


def write(path: Path, size: tuple[int, int], kind: type, geometry: tuple, seed: int, channels: int) -> None:
    """Smooth intensities that fill part of the type's range, centred at the origin's neighbourhood."""
    planes = [smooth_image(size, seed=seed + n, scale=3) for n in range(channels)]
    pixels = np.stack(planes, 2) if channels > 1 else planes[0]
    pixels = (pixels * 200 + 3).astype(kind) if kind is not np.float32 else pixels
    image = sitk.GetImageFromArray(pixels, isVector=channels > 1)
    spacing, origin, angle = geometry
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = matrix @ (np.array(spacing) * (np.array(size[::-1]) - 1) / 2)
    image.SetSpacing(spacing)
    image.SetOrigin((np.array(origin) - middle).tolist())
    image.SetDirection(matrix.ravel().tolist())
    sitk.WriteImage(image, str(path))


def cnnreg(*arguments: object) -> None:
    assert run([str(argument) for argument in arguments]) == 0


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.tuples(SIZES, SIZES),
    kinds=st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)),
    geometries=st.tuples(GEOMETRIES, GEOMETRIES),
    channels=st.sampled_from([1, 1, 3]),
    init=st.sampled_from(["none", "auto"]),
    seed=st.integers(0, 100),
)
def test_from_files_to_files(sizes, kinds, geometries, channels, init, seed):
    """Grid of the fixed image, type and channels of the moving one; apply gives warped again; no folds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed, moving, out = folder / "fixed.mha", folder / "moving.mha", folder / "out"
        write(fixed, sizes[0], kinds[0], geometries[0], seed, 1)
        write(moving, sizes[1], kinds[1], geometries[1], seed + 10, channels)
        before = fixed.read_bytes(), moving.read_bytes()
        cnnreg("register", fixed, moving, "--model", "none", "-a", 6, "--init", init, "-o", out, "-q")
        assert (fixed.read_bytes(), moving.read_bytes()) == before
        given_fixed, given_moving, warped = (read_image(path) for path in (fixed, moving, out / "warped.mha"))
        assert warped.grid.size == given_fixed.grid.size == sizes[0]
        assert warped.grid.spacing == pytest.approx(given_fixed.grid.spacing)
        assert warped.grid.origin == pytest.approx(given_fixed.grid.origin)
        assert warped.grid.direction == pytest.approx(given_fixed.grid.direction)
        assert warped.pixels.dtype == given_moving.pixels.dtype
        assert warped.pixels.shape[2:] == given_moving.pixels.shape[2:]
        assert warped.pixels.max() <= given_moving.pixels.max()
        field, grid = read_field(out / "field.mha")
        assert np.isfinite(field).all()
        assert grid.size == sizes[0]
        report = json.loads((out / "report.json").read_text())
        after = report["metrics"]["adaptation"]
        assert after["folding_percent"] == 0
        cnnreg("apply", out / "field.mha", moving, "-o", folder / "applied", "-q")
        again = read_image(folder / "applied" / "moving_warped.mha").pixels.astype(float)
        assert np.abs(again - warped.pixels).max() <= (1 if kinds[1] is not np.float32 else 1e-3)
        cnnreg(
            "evaluate",
            "--fixed",
            fixed,
            "--moving",
            moving,
            "--field",
            out / "field.mha",
            "--csv",
            folder / "numbers.csv",
        )
        header, row = (folder / "numbers.csv").read_text().splitlines()
        numbers = dict(zip(header.split(","), row.split(","), strict=True))
        assert float(numbers["after.mad"]) == pytest.approx(after["mad"], abs=2e-3)
        assert float(numbers["after.folding_percent"]) == 0
        transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(out / "field.mha"), sitk.sitkVectorFloat64))
        theirs = sitk.GetArrayFromImage(
            sitk.Resample(sitk.ReadImage(str(moving)), sitk.ReadImage(str(fixed)), transform)
        )
        close = np.abs(theirs.astype(float) - warped.pixels.astype(float))
        assert np.quantile(close, 0.9) <= (1 if kinds[1] is not np.float32 else 2e-3)
