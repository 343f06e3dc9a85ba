"""What several tests share: the command line in this process, small smooth images, a tiny model, a private cache."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter, shift

from cnnreg.cli.main import run
from cnnreg.config import Config, NetworkConfig
from cnnreg.learning.modelcards import save_model
from cnnreg.learning.network import build_network

SIZE = (48, 61)  # rows, columns: never square, divisible by nothing
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot run."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    if item.get_closest_marker("data") and not SHARED_DATA.is_dir():
        pytest.skip(f"REAL IMAGES MISSING: {SHARED_DATA} does not exist, so this test did not run")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's model cache or offline setting; returns where this test's cached models would lie."""
    monkeypatch.setenv("CNNREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CNNREG_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "models"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """No test leaves its --threads to the next."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``cli("register", fixed, moving, ...)`` runs a command in this process.

    Output is caught at the file descriptors, so that what C libraries print counts too; do not use capsys with it.
    """

    def call(*arguments: object) -> Ended:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ended(code, *capfd.readouterr())

    return call


@pytest.fixture
def shared_data() -> Path:
    """The folder of real images; mark tests that use it with ``data``."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"REAL IMAGES MISSING: {SHARED_DATA} does not exist, so this test did not run")
    return SHARED_DATA


def smooth_image(size: tuple[int, int] = SIZE, *, seed: int = 0, scale: float = 4.0) -> NDArray[np.float32]:
    """Smooth random intensities that span [0, 1] exactly; ``scale`` is the size of the blobs in pixels."""
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(size), scale, mode="wrap")
    return ((values - values.min()) / (values.max() - values.min())).astype(np.float32)


def smooth_pair(size: tuple[int, int] = SIZE, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A smooth image and the same image moved by (2, -3) pixels around the torus."""
    fixed = smooth_image(size, seed=seed)
    return fixed, shift(fixed, (2, -3), mode="grid-wrap", order=1)


def write_png(path: Path, values: NDArray[Any]) -> Path:
    """Intensities in [0, 1] as an 8-bit grey or colour PNG."""
    PILImage.fromarray(np.rint(values * 255).astype(np.uint8)).save(path, format="PNG")
    return path


def write_itk(
    path: Path,
    pixels: NDArray[Any],
    *,
    spacing: tuple[float, ...] | None = None,
    origin: tuple[float, ...] | None = None,
    direction: tuple[float, ...] | None = None,
    vector: bool = False,
) -> Path:
    """Any array with geometry (x, y[, z]) in any format that SimpleITK writes; the suffix decides."""
    image = sitk.GetImageFromArray(pixels, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def write_dicom(
    path: Path,
    pixels: NDArray[np.uint16],
    *,
    slope: float = 1,
    intercept: float = 0,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Path:
    """A DICOM file of one slice; ``spacing`` is (row, column), as DICOM has it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID, file.Modality = CTImageStorage, "1.2.3.4", "CT"
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.RescaleSlope, file.RescaleIntercept = slope, intercept
    file.PixelSpacing = list(spacing)
    file.PixelData = pixels.tobytes()
    file.save_as(path, enforce_file_format=True)
    return path


def save_tiny_model(folder: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    """A model folder with a small random network."""
    config = Config(network=NetworkConfig(pooling=1, channels=(4, 8)))
    save_model(build_network(config.network, seed=seed), folder, config, name=name, description="random, for tests")
    return folder


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """The folder of a small random model, given by path."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def pair_files(tmp_path: Path) -> tuple[Path, Path]:
    """fixed.png and moving.png, 61 x 48 pixels."""
    fixed, moving = smooth_pair()
    return write_png(tmp_path / "fixed.png", fixed), write_png(tmp_path / "moving.png", moving)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder``: contents of files, None for folders. Equal trees mean that nothing changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
