"""What is in one view and not in the other, or in both without being evidence: frames, text, instruments, overlays."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cnnreg.learning.features.chance import Chance

DRAWINGS = 160


def apertures(count: int, size: int, chance: Chance) -> Tensor:
    """(count, 1, size, size) of bool: what circles, sectors, octagons and rectangles let through, slightly turned."""
    middle = (size - 1) / 2
    axis = torch.arange(size) - middle
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    shift = chance.normal(count, 2, 1, 1, spread=0.06 * size)
    down, right = down - shift[:, 0], right - shift[:, 1]
    angle = chance.normal(count, 1, 1, spread=0.1) * (chance.uniform(count, 1, 1) < 0.5)
    down, right = angle.cos() * down + angle.sin() * right, angle.cos() * right - angle.sin() * down
    half = chance.uniform(count, 2, 1, 1, low=0.3, high=0.52) * size
    high, wide = down.abs() / half[:, 0], right.abs() / half[:, 1]
    circle = torch.hypot(down, right) / half[:, 0] / 1.1
    octagon = torch.maximum(torch.maximum(high, wide), (high + wide) / 1.41)
    opening = chance.uniform(count, 1, 1, low=0.4, high=0.9)
    from_tip = down + 0.5 * size
    sector = torch.maximum(torch.hypot(from_tip, right) / (0.98 * size), right.abs() / (from_tip.abs() * opening + 1))
    sector = torch.where(from_tip < 0, 2.0, sector)
    kinds = torch.stack([torch.maximum(high, wide), circle, octagon, sector])
    chosen = kinds[chance.integers(count, below=4), torch.arange(count)]
    return (chosen < 1)[:, None]


def cut_offs(count: int, size: int, chance: Chance) -> Tensor:
    """(count, 1, size, size) of bool: less a strip at one side."""
    angle = chance.integers(count, 1, 1, below=4) * (math.pi / 2) + chance.normal(count, 1, 1, spread=0.15)
    axis = torch.arange(size) - (size - 1) / 2
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    at = chance.uniform(count, 1, 1, low=0.15, high=0.5) * size
    return (angle.cos() * down + angle.sin() * right < at)[:, None]


def drawings(size: int, seed: int) -> Tensor:
    """(DRAWINGS, size, size) in [0, 1]: text, rulers, needles, curves, spots, rings and patches, one or a few each."""
    random = np.random.default_rng(seed)
    drawn = np.stack([_draw(size, random, kind=k % 5) for k in range(DRAWINGS)])
    return torch.from_numpy(drawn).float() / 255


def _draw(size: int, random: np.random.Generator, *, kind: int) -> np.ndarray:
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 5))):
        x, y = (float(v) for v in random.uniform(0, size, 2))
        grey = int(random.integers(120, 256))
        if kind == 0:
            letters = random.choice(list("ABCDEFGHKLMNPRSTUVXYZ0123456789.:-/ mm"), random.integers(3, 16))
            font = ImageFont.load_default(float(random.uniform(7, 18)))
            pen.text((x - 30, y), "".join(letters), fill=grey, font=font)
        elif kind == 1:
            steps = np.cumsum(random.normal(0, size / 16, (12, 2)), 0)
            steps = np.cumsum(steps, 0) / 3 + (x, y)
            pen.line([tuple(p) for p in steps.tolist()], fill=grey, width=int(random.integers(1, 6)))
        elif kind == 2:
            a, b = random.uniform(2, size / 6, 2)
            pen.ellipse((x - a, y - b, x + a, y + b), fill=grey)
        elif kind == 3:
            a, b = random.uniform(4, size / 4, 2)
            pen.ellipse((x - a, y - b, x + a, y + b), outline=grey, width=int(random.integers(1, 5)))
        else:
            corners = np.array([x, y]) + random.normal(0, size / 7, (int(random.integers(3, 7)), 2))
            pen.polygon([tuple(p) for p in corners.tolist()], fill=grey)
    return np.asarray(image)


class Additions:
    """Draws onto views and frames them."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.drawings = size, drawings(size, seed)

    def draw(self, images: Tensor, chance: Chance) -> Tensor:
        """One-sided structures: drawings, and now and then another view shining through."""
        images = images.clone()
        if len(chosen := chance.some(len(images), 0.3)):
            shape = self.drawings[chance.integers(len(chosen), below=len(self.drawings))]
            shape = shape.roll((chance.integer(self.size), chance.integer(self.size)), (1, 2))[:, None]
            opacity = shape * chance.uniform(len(chosen), 1, 1, 1, low=0.4, high=1.0)
            images[chosen] = torch.lerp(images[chosen], chance.uniform(len(chosen), 1, 1, 1), opacity)
        if len(chosen := chance.some(len(images), 0.06)):
            other = images[chosen].roll(1, 0).flip(2)
            images[chosen] = torch.lerp(images[chosen], other, chance.number(0.1, 0.35))
        return images

    def frame(self, first: Tensor, second: Tensor, chance: Chance) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both views framed, by frames of their own or by one that lies in both at one place; and what is left."""
        count = len(first)
        masks = []
        for _ in range(2):
            mask = torch.ones(count, 1, self.size, self.size, dtype=torch.bool)
            for make, probability in ((apertures, 0.22), (cut_offs, 0.12)):
                if len(chosen := chance.some(count, probability)):
                    mask[chosen] &= make(len(chosen), self.size, chance)
            masks.append(mask)
        fills = [self._fill(count, chance) for _ in range(2)]
        alike = chance.some(count, 0.45)
        masks[1][alike], fills[1][alike] = masks[0][alike], fills[0][alike]
        framed = [torch.where(m, x, f) for m, x, f in zip(masks, (first, second), fills, strict=True)]
        return framed[0], framed[1], masks[0], masks[1]

    def _fill(self, count: int, chance: Chance) -> Tensor:
        """Mostly black or white; now and then with writing on it."""
        fill = chance.uniform(count, 1, 1, 1).expand(-1, 1, self.size, self.size).clone()
        black, white = chance.some(count, 0.6), chance.some(count, 0.15)
        fill[white], fill[black] = 1, 0
        written = chance.some(count, 0.3)
        shape = self.drawings[chance.integers(len(written), below=len(self.drawings) // 5) * 5][:, None]
        fill[written] = torch.lerp(fill[written], 1 - fill[written], shape)
        return fill
