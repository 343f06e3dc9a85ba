"""Any two images: pairs of many kinds whose deformation and contrast are known, beside elastix and ANTs.

    pip install 'cnnreg[peers]'    # in an environment of its own
    python benchmarks/kinds.py --out kinds

Made from the images in scikit-image's wheel. A moving image is the fixed one under a smooth deformation of up to 2 % of
its length, an affine map, and a change of contrast; "far" pairs are turned by any angle and scaled by 0.65 to 1.5,
"near" ones turned by up to 10 degrees, scaled by 0.95 to 1.05. Measured is the distance of sixty landmarks from where
they belong, in pixels of the fixed image, before and after, and folding. Each tool is used as its users would:
`cnnreg register --adapt 50` without a model; elastix, affine and B-splines with mutual information; ANTs, affine and
SyN with mutual information. Writes OUT.md and OUT.csv.

With ``--border``, both images get white padding, a black frame at the same place or a burnt-in label, or the fixed one
a collimator's border, or both are seen through a circle, a sector or an octagon; compare
with ``--tools "cnnreg, 50" "cnnreg, 50, --padding keep"``.
"""

import argparse
import csv
import math
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

sys.path.insert(0, str(Path(__file__).parent))
from peers import from_xy

from cnnreg.config import preset
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import jacobian_determinant
from cnnreg.geometry.resampling import move_points
from cnnreg.images.image import Grid
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.registration import register
from cnnreg.pipeline.setup import Setup

SIDE = 400  # pixels of the longer side
KINDS = [  # image, contrast of the moving one, whether it is far
    ("retina.jpg", "inverted", True),
    ("retina.jpg", "red of colour", False),
    ("ihc.png", "red of colour", True),
    ("ihc.png", "histogram permuted", False),
    ("cell.png", "gamma", True),
    ("coins.png", "noise", True),
    ("coins.png", "histogram permuted", True),
    ("camera.png", "inverted", True),
    ("moon.png", "bias field", True),
    ("astronaut.png", "blue of colour", True),
    ("coffee.png", "histogram permuted", True),
    ("chelsea.png", "bias field", False),
    ("hubble_deep_field.jpg", "inverted", True),
    ("brick.png", "gamma", True),
    ("rocket.jpg", "noise", True),
    ("microaneurysms.png", "inverted", False),
    ("motorcycle_left.png", "gamma", True),
    ("page.png", "inverted", True),
]
Pair = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # fixed, moving, landmarks of both (row, column)
Tool = Callable[[np.ndarray, np.ndarray], torch.Tensor]  # images in [0, 1] to a field on the fixed one


def read(name: str) -> np.ndarray:
    """(H, W, 3) in [0, 1], with ``SIDE`` pixels along the longer side."""
    with PILImage.open(Path(skimage.__file__).parent / "data" / name) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    size = [round(n * SIDE / max(pixels.shape[2:])) for n in pixels.shape[2:]]
    smaller = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return smaller[0].permute(1, 2, 0).numpy()


def grey(colour: np.ndarray) -> np.ndarray:
    return colour @ np.array([0.299, 0.587, 0.114])


def change(colour: np.ndarray, contrast: str, rng: np.random.Generator) -> np.ndarray:
    """Intensities (H, W) in [0, 1] of another contrast."""
    image = grey(colour)
    match contrast:
        case "inverted":
            return 1 - image
        case "gamma":
            return image**2.2
        case "noise":
            return (image + 0.1 * rng.standard_normal(image.shape)).clip(0, 1)
        case "bias field":
            bias = gaussian_filter(rng.standard_normal(image.shape), max(image.shape) / 5)
            return (image * (1 + 0.6 * bias / np.abs(bias).max())).clip(0, 1)
        case "histogram permuted":
            return np.interp(image, np.linspace(0, 1, 5), [0.5, 0.0, 0.8, 0.2, 1.0])
        case _:
            return colour[..., {"red": 0, "green": 1, "blue": 2}[contrast.split()[0]]]


def make(name: str, contrast: str, far: bool, seed: int) -> Pair:
    """A pair whose deformation is known."""
    rng = np.random.default_rng([seed, *map(ord, name + contrast)])
    colour = read(name)
    size = np.array(colour.shape[:2])
    turn, growth = (180, math.log(1.5)) if far else (10, 0.05)
    angle, scale = math.radians(rng.uniform(-turn, turn)), math.exp(rng.uniform(-growth, growth))
    shear = np.array([[1, rng.uniform(-0.08, 0.08)], [0, rng.uniform(0.94, 1.06)]])
    matrix = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ shear
    corners = (np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) - 0.5) * size @ matrix.T
    canvas = np.ceil(np.ptp(corners, axis=0) * (rng.uniform(0.85, 1.05, 2) if far else 1)).astype(int)
    shift = rng.uniform(-0.12, 0.12, 2) * canvas if far else rng.uniform(-0.03, 0.03, 2) * canvas
    affine = Affine(matrix, canvas / 2 + shift - matrix @ (size / 2))
    bend = gaussian_filter(rng.standard_normal((2, *size)), (0, *(size / 8)))
    bend *= 0.02 * max(size) / np.abs(bend).max()

    def bent(points: np.ndarray) -> np.ndarray:
        return np.stack([map_coordinates(part, points.T, order=1, mode="nearest") for part in bend], 1)

    goal = affine.inverse()(np.mgrid[: canvas[0], : canvas[1]].reshape(2, -1).T)
    source = goal
    for _ in range(25):
        source = goal - bent(source)
    rim = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    planes = [
        map_coordinates(colour[..., c], source.T, order=1, mode="constant", cval=float(np.median(rim[:, c])))
        for c in range(3)
    ]
    moving = change(np.stack(planes, 1).reshape(*canvas, 3), contrast, rng)
    points = rng.uniform(0.12 * size, 0.88 * size, (60, 2))
    moved = affine(points + bent(points))
    seen = ((moved >= 0) & (moved <= canvas - 1)).all(axis=1)
    return grey(colour).astype(np.float32), moving.astype(np.float32), points[seen], moved[seen]


def bordered(pair: Pair, border: str) -> Pair:
    """What people's files have around the image; landmarks that it hides in the fixed image are left out."""
    fixed, moving, points, target = pair
    if border == "white padding":
        widths = [round(0.12 * max(image.shape)) for image in (fixed, moving)]
        fixed, moving = (np.pad(image, b, constant_values=1) for image, b in zip((fixed, moving), widths, strict=True))
        return fixed, moving, points + widths[0], target + widths[1]
    if border == "label":
        return _labelled(fixed), _labelled(moving), points, target
    if border in {"circle", "sector", "octagon"}:
        seen = [_aperture(image.shape, border) for image in (fixed, moving)]
        kept = _at(seen[0], points) & _at(seen[1], target)
        images = [np.where(s, i, 0).astype(np.float32) for s, i in zip(seen, (fixed, moving), strict=True)]
        return images[0], images[1], points[kept], target[kept]
    turn = math.radians(7 if border == "collimator" else 0)

    def inside(at: np.ndarray, image: np.ndarray) -> np.ndarray:
        y, x = np.moveaxis(at - (np.array(image.shape) - 1) / 2, -1, 0)
        height, width = 0.42 * np.array(image.shape)
        along, across = math.cos(turn) * y + math.sin(turn) * x, math.cos(turn) * x - math.sin(turn) * y
        return (np.abs(along) < height) & (np.abs(across) < width)

    seen = [inside(np.moveaxis(np.mgrid[: i.shape[0], : i.shape[1]], 0, -1), i) for i in (fixed, moving)]
    kept = inside(points, fixed)
    if border == "black frame":
        moving, kept = np.where(seen[1], moving, 0).astype(np.float32), kept & inside(target, moving)
    return np.where(seen[0], fixed, 0).astype(np.float32), moving, points[kept], target[kept]


def _aperture(size: tuple[int, ...], kind: str) -> np.ndarray:
    """In the middle, as large as fits."""
    short = min(size)
    y, x = (np.mgrid[: size[0], : size[1]] - (np.array(size).reshape(2, 1, 1) - 1) / 2) / short
    if kind == "circle":
        return np.hypot(y, x) < 0.48
    if kind == "octagon":
        return (np.maximum(abs(y), abs(x)) < 0.47) & (abs(y) + abs(x) < 0.66)
    radius, angle = np.hypot(y + 0.6, x), np.degrees(np.arctan2(x, y + 0.6))
    return (radius < 1.08) & (radius > 0.25) & (abs(angle) < 33)


def _at(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    rows, columns = np.rint(points).astype(int).T
    return mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]


def _labelled(image: np.ndarray) -> np.ndarray:
    picture = PILImage.fromarray(np.rint(image * 255).astype(np.uint8))
    ImageDraw.Draw(picture).text((8, 8), "L 12345\nHOSPITAL", fill=255, font=ImageFont.load_default(24))
    return np.asarray(picture, np.float32) / 255


def ours(fixed: np.ndarray, moving: np.ndarray, *, padding: str = "auto") -> torch.Tensor:
    """The command's own function, from files to the field."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, image in (("fixed", fixed), ("moving", moving)):
            files.append(Path(folder) / f"{name}.png")
            PILImage.fromarray(np.rint(image * 255).astype(np.uint8)).save(files[-1])
        config = preset("default").override(
            {"adaptation": {"steps": 50}, "alignment": {"padding": padding}}, source="benchmark"
        )
        return register(Request(*files), Setup(config, "none")).field


def elastix(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
    """Affine, then B-splines, default maps."""
    import itk

    parameters = itk.ParameterObject.New()
    for name in ("affine", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(name, 4, 16.0))
    images = [itk.image_from_array(np.ascontiguousarray(image)) for image in (fixed, moving)]
    _, transform = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False)
    with tempfile.TemporaryDirectory() as folder:
        vectors = itk.transformix_deformation_field(images[1], transform, output_directory=folder, log_to_console=False)
    return from_xy(itk.array_from_image(vectors))


def ants_syn(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
    """Affine, then SyN, both with mutual information; the two transforms composed at every pixel."""
    import ants
    import pandas

    images = [ants.from_numpy(np.ascontiguousarray(image.T)) for image in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(*images, type_of_transform="SyN", outprefix=f"{folder}/t")
        rows, columns = np.mgrid[: fixed.shape[0], : fixed.shape[1]].astype(float)
        frame = pandas.DataFrame({"x": columns.ravel(), "y": rows.ravel()})
        moved = ants.apply_transforms_to_points(2, frame, result["fwdtransforms"]).to_numpy()[:, :2]
    vectors = moved - frame.to_numpy()
    return from_xy(vectors.reshape(*fixed.shape, 2))


TOOLS: dict[str, Tool] = {"cnnreg, 50": ours, "elastix, affine + B-spline": elastix, "ANTs, affine + SyN": ants_syn}
OTHERS: dict[str, Tool] = {"cnnreg, 50, --padding keep": partial(ours, padding="keep")}
BORDERS = ("white padding", "black frame", "collimator", "label", "circle", "sector", "octagon")


def distances(field: torch.Tensor, pair: Pair, growth: float) -> np.ndarray:
    """Of the landmarks from where they belong, in pixels of the fixed image."""
    fixed, _, points, target = pair
    grid = Grid(fixed.shape)
    return np.linalg.norm(move_points(points, field, grid, grid) - target, axis=1) / growth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where OUT.md and OUT.csv go")
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=[*TOOLS, *OTHERS])
    parser.add_argument("--border", choices=BORDERS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for name, contrast, far in KINDS:
        pair = make(name, contrast, far, arguments.seed)
        if arguments.border:
            pair = bordered(pair, arguments.border)
        fixed, moving, points, target = pair
        growth = float(np.linalg.norm(np.ptp(target, axis=0)) / np.linalg.norm(np.ptp(points, axis=0)))
        zero = torch.zeros(1, 2, *fixed.shape)
        row = {"image": name.split(".")[0], "contrast": contrast, "place": "far" if far else "near"}
        row["before"] = f"{distances(zero, pair, growth).mean():.1f}"
        for tool in arguments.tools:
            start = time.perf_counter()
            field = (TOOLS | OTHERS)[tool](fixed, moving)
            row[f"{tool}, s"] = f"{time.perf_counter() - start:.1f}"
            row[tool] = f"{distances(field, pair, growth).mean():.1f}"
            row[f"{tool}, folding %"] = f"{(jacobian_determinant(field) <= 0).float().mean().item() * 100:.2f}"
        rows.append(row)
        print(" | ".join(row.values()), flush=True)
    with arguments.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    arguments.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
