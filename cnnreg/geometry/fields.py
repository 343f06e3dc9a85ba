"""Displacement fields on the pixel grid: sampling, warping, composition, inversion, Jacobian.

Convention, held to everywhere: a field is float32 ``(B, 2, H, W)`` in pixels of the fixed grid, channel 0 along rows
(y), channel 1 along columns (x). It pulls: ``warped(p) = moving(p + field(p))``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.errors import ShapeError

# Pixels that are worked on at once where no graph is recorded. Temporaries take up to a hundred bytes for each, on a
# section of 4096 x 4096 more than the images themselves; those of so many are also quicker to reach, fewer are not.
STRIP = 1 << 18


def strips(like: Tensor) -> list[slice]:
    """The rows of ``like`` (B, C, H, W) in strips of ``STRIP`` pixels at most, or of one row."""
    batch, height, width = like.shape[0], *like.shape[2:]
    rows = max(STRIP // (batch * width), 1)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def pixel_grid(like: Tensor, *, top: int = 0) -> Tensor:
    """Row and column index of every pixel of ``like`` (..., H, W), whose first row is ``top``, as (1, 2, H, W)."""
    height, width = like.shape[-2:]
    rows = torch.arange(top, top + height, dtype=like.dtype, device=like.device)
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]


def sample(image: Tensor, points: Tensor, *, mode: str = "bilinear", outside: str = "border") -> Tensor:
    """Values of ``image`` at ``points``.

    Four gathers and three interpolations rather than ``grid_sample``: there is no detour through [-1, 1], so whole
    pixels are hit exactly in float32, both cores work on a single image, and the backward pass is shorter.

    Args:
        image: (B, C, h, w), at least 2x2 pixels.
        points: (B, 2, H, W), row and column in pixels of ``image``; whole numbers are pixel centres.
        mode: "bilinear" for intensities; "nearest" for labels (halves round up, as in ITK).
        outside: "border" takes the nearest pixel of the rim; "zero" gives 0 more than half a pixel off it, as ITK does.

    Returns:
        (B, C, H, W).
    """
    if image.ndim != 4 or points.ndim != 4 or points.shape[:2] != (image.shape[0], 2) or min(image.shape[2:]) < 2:
        raise ShapeError(
            f"sample expects an image (B, C, h, w) of at least 2x2 pixels and points (B, 2, H, W), "
            f"got {tuple(image.shape)} and {tuple(points.shape)}"
        )
    flat = image.transpose(0, 1).reshape(image.shape[1], -1)
    parts = strips(points)
    if len(parts) == 1 or (torch.is_grad_enabled() and (image.requires_grad or points.requires_grad)):
        return _sample(image, flat, points, mode, outside)
    values = image.new_empty(*image.shape[:2], *points.shape[2:])
    for rows in parts:
        values[:, :, rows] = _sample(image, flat, points[:, :, rows], mode, outside)
    return values


def _sample(image: Tensor, flat: Tensor, points: Tensor, mode: str, outside: str) -> Tensor:
    """:func:`sample` with the image's pixels in ``flat``, (C, B h w)."""
    batch, channels, height, width = image.shape
    y, x = points[:, 0].clamp(0, height - 1), points[:, 1].clamp(0, width - 1)
    if mode == "nearest":
        top, left = (y.detach() + 0.5).floor_(), (x.detach() + 0.5).floor_()
    else:
        top, left = y.detach().floor().clamp_(max=height - 2), x.detach().floor().clamp_(max=width - 2)
    # Row and column are whole numbers far below 2^31; the product is formed as an integer, not as a float32.
    index = top.to(torch.int32) * width + left.to(torch.int32)
    if batch > 1:
        start = torch.arange(batch, dtype=torch.int32, device=image.device) * (height * width)
        index += start.view(-1, 1, 1)

    def corner(offset: int) -> Tensor:
        values = flat[:, offset:].index_select(1, index.view(-1))
        return values.view(channels, *index.shape).transpose(0, 1)

    if mode == "nearest":
        values = corner(0)
    else:
        down, right = (y - top)[:, None].to(image), (x - left)[:, None].to(image)
        upper = torch.lerp(corner(0), corner(1), right)
        lower = torch.lerp(corner(width), corner(width + 1), right)
        values = torch.lerp(upper, lower, down)
    return values if outside == "border" else values * inside(points, (height, width))[:, None]


def inside(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether each of ``points`` (B, 2, H, W) lies on an image of ``size`` (h, w), rim pixels whole: (B, H, W)."""
    y, x = points.unbind(1)
    height, width = size
    return (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)


def warp(image: Tensor, field: Tensor, *, mode: str = "bilinear", outside: str = "border") -> Tensor:
    """Pull ``image`` (B, C, H, W) back along ``field`` (B, 2, H, W): result(p) = image(p + field(p)).

    Exact for whole-pixel shifts. ``mode`` and ``outside`` as in :func:`sample`.
    """
    expected = (image.shape[0], 2, *image.shape[2:])
    if tuple(field.shape) != expected:
        raise ShapeError(f"field must be {expected} to warp this image, got {tuple(field.shape)}")
    return sample(image, pixel_grid(field) + field, mode=mode, outside=outside)


class Warper:
    """:func:`warp` for a loop that records no graph: about five times faster, to within 1e-4 of a pixel.

    The identity is formed once, in the coordinates of ``grid_sample``, whose CPU kernel divides its work by images
    only: a single one is therefore cut into strips. Outside the image the nearest pixel of the rim is taken.
    """

    def __init__(self, like: Tensor) -> None:
        height, width = like.shape[2:]
        self.scale = 2 / width, 2 / height
        y, x = pixel_grid(like)[0]
        self.identity = (x + 0.5) * self.scale[0] - 1, (y + 0.5) * self.scale[1] - 1
        threads = torch.get_num_threads() if like.device.type == "cpu" and height * width >= 128**2 else 1
        self.strips = max(n for n in range(1, threads + 1) if height % n == 0)

    def __call__(self, image: Tensor, field: Tensor) -> Tensor:
        """``image`` (B, C, H, W) pulled back along ``field`` (B, 2, H, W)."""
        batch, channels, height, width = image.shape
        points = torch.empty_like(field)
        torch.add(self.identity[0], field[:, 1], alpha=self.scale[0], out=points[:, 0])
        torch.add(self.identity[1], field[:, 0], alpha=self.scale[1], out=points[:, 1])
        if batch > 1 or self.strips == 1:
            return F.grid_sample(image, points.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
        points = points.view(2, self.strips, -1, width).permute(1, 2, 3, 0)
        strips = F.grid_sample(
            image.expand(self.strips, -1, -1, -1), points, padding_mode="border", align_corners=False
        )
        return strips.transpose(0, 1).reshape(1, channels, height, width)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The field of p -> first(second(p)): ``second(p) + first(p + second(p))``, both (B, 2, H, W) in pixels."""
    return second + warp(first, second)


def invert(field: Tensor, points: Tensor | None = None, *, iterations: int = 25) -> tuple[Tensor, Tensor]:
    """The field v with q + v(q) + field(q + v(q)) = q, and the length of what is left of that, (B, H, W) in pixels.

    Newton's iteration at every point; where a step does not help, half of it is tried next. (Fixed-point iteration, as
    in Chen et al. 2008, doi:10.1118/1.2816107, needs a contraction, which strong compression is not.) Near the rim,
    where q has no origin in the image, the residual says so.

    Args:
        field: (B, 2, h, w).
        points: q, (B, 2, H, W) in pixels of the field; by default its own pixels.
    """
    goal = pixel_grid(field).expand_as(field) if points is None else points
    slopes = [torch.gradient(field, dim=axis)[0] for axis in (-2, -1)]
    table = torch.cat([field, *slopes], 1)
    inverse, residual = torch.empty_like(goal), torch.empty_like(goal[:, 0])
    for rows in strips(goal):
        inverse[:, :, rows], residual[:, rows] = _invert(table, goal[:, :, rows], iterations)
    return inverse, residual


def _invert(table: Tensor, goal: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """:func:`invert` with the field and its slopes along rows and columns in ``table``, (B, 6, h, w)."""

    def look(origin: Tensor) -> tuple[Tensor, Tensor]:
        at = sample(table, origin)
        return origin + at[:, :2] - goal, at[:, 2:]

    origin = goal - sample(table[:, :2], goal)
    rest, slope = look(origin)
    share = torch.ones_like(rest[:, :1])
    for _ in range(iterations):
        a, c, b, d = slope.unbind(1)  # of rows and columns, along rows; then along columns
        determinant = ((1 + a) * (1 + d) - b * c).clamp_min(0.05)
        y, x = rest.unbind(1)
        newton = torch.stack([((1 + d) * y - b * x) / determinant, ((1 + a) * x - c * y) / determinant], 1)
        trial = origin - share * newton
        left, turn = look(trial)
        better = lengths(left)[:, None] < lengths(rest)[:, None]
        origin, rest = torch.where(better, trial, origin), torch.where(better, left, rest)
        slope = torch.where(better, turn, slope)
        share = torch.where(better, (2 * share).clamp_max(1), share / 2)
    return origin - goal, lengths(rest)


def jacobian_determinant(field: Tensor) -> Tensor:
    """Determinant of the Jacobian of p -> p + field(p) at every pixel: (B, 2, H, W) in pixels to (B, H, W).

    1 keeps areas, 2 doubles them, <= 0 folds. Central differences, one-sided at the rim. It does not depend on the
    pixels' spacing, since both the vectors and the distances scale alike along each axis.
    """

    def part(rows: slice) -> Tensor:
        top = max(rows.start - 1, 0)  # with a row more on either side, for the differences
        dy, dx = (torch.gradient(field[:, :, top : rows.stop + 1], dim=axis)[0] for axis in (-2, -1))
        determinant = (1 + dy[:, 0]) * (1 + dx[:, 1]) - dy[:, 1] * dx[:, 0]
        return determinant[:, rows.start - top :][:, : rows.stop - rows.start]

    parts = [part(rows) for rows in strips(field)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def handedness(field: Tensor) -> int:
    """-1 where the affine map that is nearest to p -> p + field(p), of a field (1, 2, H, W), mirrors; else 1."""
    step = -(-max(field.shape[2:]) // 256)
    grid = pixel_grid(field)[:, :, ::step, ::step].double()
    points, to = (x.flatten(2)[0] for x in (grid, grid + field[:, :, ::step, ::step]))
    points -= points.mean(1, keepdim=True)
    return -1 if torch.linalg.det(to @ points.T) < 0 else 1  # up to positive factors, for rows and columns are a grid


def lengths(field: Tensor) -> Tensor:
    """Of the displacements of a field (B, 2, H, W): (B, H, W). ``norm(dim=1)`` takes a hundred times as long."""
    return torch.hypot(field[:, 0], field[:, 1])


def resize(field: Tensor, size: tuple[int, int]) -> Tensor:
    """The same deformation on a grid of ``size`` (H, W) over the same extent; lengths change to pixels of that grid."""
    if tuple(field.shape[2:]) == tuple(size):
        return field
    scale = field.new_tensor([new / old for new, old in zip(size, field.shape[2:], strict=True)])
    resized = F.interpolate(field, size=size, mode="bilinear", align_corners=False)
    return resized * scale.view(1, 2, 1, 1)
