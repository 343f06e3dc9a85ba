"""Numbers that tell how good a registration is; no gradients here. Distances come in pixels and in mm."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def mean_absolute_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """MAD: mean |a - b| of two images in [0, 1]."""
    return float(np.abs(a.astype(np.float64) - b).mean())


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Global normalised cross-correlation in [-1, 1]; 0 if either is constant."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def normalised_mutual_information(a: NDArray[Any], b: NDArray[Any], bins: int = 64) -> float:
    """NMI: (H(a) + H(b)) / H(a, b) of two images in [0, 1] (doi:10.1016/S0031-3203(98)00091-0), from 1 to 2.

    1 says that neither image tells anything about the other, 2 that each determines the other; 1 if either is constant.
    What the grey levels of either image are called makes no difference: images of unlike contrast compare.
    """
    i, j = (np.minimum((x.clip(0, 1) * bins).astype(np.int64), bins - 1).ravel() for x in (a, b))
    joint = np.bincount(i * bins + j, minlength=bins * bins).reshape(bins, bins) / i.size
    first, second, both = (_entropy(p) for p in (joint.sum(axis=1), joint.sum(axis=0), joint))
    return (first + second) / both if both > 0 else 1.0


def _entropy(probabilities: NDArray[np.float64]) -> float:
    found = probabilities[probabilities > 0]
    return float(-(found * np.log(found)).sum())


def common_labels(a: NDArray[Any], b: NDArray[Any]) -> dict[int, tuple[Mask, Mask]]:
    """The two masks of every label found in either map, 0 being background.

    Two maps of one label each are taken for the same structure, whatever its number: 0/1 and 0/255 go together.
    """
    labels_a, labels_b = (np.unique(x[x != 0]).tolist() for x in (a, b))  # Python's: the types may be unlike
    if len(labels_a) == len(labels_b) == 1:
        return {labels_a[0]: (a != 0, b != 0)}
    return {label: (a == label, b == label) for label in sorted({*labels_a, *labels_b})}


def dice(a: Mask, b: Mask) -> float | None:
    """DSC: 2 |A and B| / (|A| + |B|) (doi:10.2307/1932409); 0 if one is empty, None if both are."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else None


def contour(mask: Mask) -> NDArray[np.intp]:
    """The pixels (N, 2) of a mask that touch the outside along an edge; beyond the image is outside."""
    padded = np.pad(mask, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~core)


def contour_distances(a: Mask, b: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[float | None, float | None]:
    """Contour mean distance and 95 % Hausdorff distance; ``spacing`` is (row, column). None if a mask is empty.

    CMD is the mean of the two directed mean distances between contour pixels; HD95 the larger of the two directed
    95th percentiles.
    """
    from scipy.ndimage import distance_transform_edt

    points_a, points_b = contour(a), contour(b)
    if not len(points_a) or not len(points_b):
        return None, None
    corner = np.minimum(points_a.min(0), points_b.min(0))  # all distances lie within the box around both contours
    size = np.maximum(points_a.max(0), points_b.max(0)) - corner + 1

    def distances(from_points: NDArray[np.intp], to_points: NDArray[np.intp]) -> NDArray[np.float64]:
        away = np.ones(size, dtype=bool)
        away[tuple((to_points - corner).T)] = False
        return distance_transform_edt(away, sampling=spacing)[tuple((from_points - corner).T)]

    there, back = distances(points_a, points_b), distances(points_b, points_a)
    return float(there.mean() + back.mean()) / 2, float(max(np.percentile(there, 95), np.percentile(back, 95)))


def overlap(a: NDArray[Any], b: NDArray[Any], spacing: tuple[float, float] | None) -> dict[str, Any]:
    """DSC, CMD and HD95 of two label maps (H, W), for every label and their mean over the labels.

    ``spacing`` is (row, column) in mm, None where it is not known: the distances in mm are then None.
    """
    labels = {}
    for label, (mask_a, mask_b) in common_labels(a, b).items():
        cmd_px, hd95_px = contour_distances(mask_a, mask_b)
        cmd_mm, hd95_mm = contour_distances(mask_a, mask_b, spacing) if spacing else (None, None)
        labels[str(label)] = {
            "dsc": dice(mask_a, mask_b),
            "cmd_px": cmd_px,
            "cmd_mm": cmd_mm,
            "hd95_px": hd95_px,
            "hd95_mm": hd95_mm,
        }
    names = ("dsc", "cmd_px", "cmd_mm", "hd95_px", "hd95_mm")
    means = {name: _mean([values[name] for values in labels.values()]) for name in names}
    return {**means, "labels": labels}


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def landmark_error(
    points: NDArray[np.float64],
    target: NDArray[np.float64],
    spacing: tuple[float, float] | None,
    diagonal_px: float | None,
) -> dict[str, float | None]:
    """Target registration error of points (N, 2), row and column: mean, median and largest distance, and in mm.

    The relative error divides by the image's diagonal, as the ANHIR challenge does (doi:10.1109/TMI.2020.2986331).
    """
    error = points - target
    distance = np.linalg.norm(error, axis=1)
    mm = np.linalg.norm(error * np.asarray(spacing), axis=1).mean() if spacing else None
    return {
        "tre_px": float(distance.mean()),
        "tre_median_px": float(np.median(distance)),
        "tre_max_px": float(distance.max()),
        "tre_mm": None if mm is None else float(mm),
        "rtre": float(distance.mean()) / diagonal_px if diagonal_px else None,
    }


def regularity(jacobian: NDArray[Any]) -> dict[str, float]:
    """Folding in % of the pixels (determinant <= 0), and the standard deviation of the log of the determinant.

    Of a map that mirrors, pass the determinant relative to the mirroring, which is its negative.
    For the logarithm, determinants are held at 1e-9 or above.
    """
    log = np.log(np.maximum(jacobian.astype(np.float64), 1e-9))
    return {"folding_percent": float((jacobian <= 0).mean() * 100), "sd_log_jacobian": float(log.std())}
