"""Scenes that no camera saw: cells, blobs, vessels, discs and layers, so that shapes and not objects are learned."""

import numpy as np
import torch
from torch import Tensor

from cnnreg.learning.features.views import Scene

SIDE = 320


def synthetic_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes (3, SIDE, SIDE) of uint8, as many of every kind."""
    random = np.random.default_rng(seed)
    makers = (_cells, _blobs, _vessels, _discs, _layers)
    return [Scene(_coloured(makers[k % len(makers)](random), random)) for k in range(count)]


def _coloured(labels: np.ndarray, random: np.random.Generator) -> Tensor:
    """Every label a colour, some with a texture; unevenly lit."""
    number = int(labels.max()) + 1
    colours = random.uniform(0, 255, (number, 3))
    image = colours[labels]
    grain = _noise(random, (SIDE, SIDE), random.uniform(0.7, 4.0))[..., None]
    image = image + grain * random.uniform(0, 60, (number, 1))[labels]
    image = image * (1 + 0.15 * _noise(random, (SIDE, SIDE), 60.0)[..., None])
    return torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()


def _noise(random: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Smooth, of spread 1, from a filter on its spectrum."""
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    spectrum = np.fft.rfft2(random.standard_normal(shape)) * np.exp(-2 * (np.pi * sigma * frequencies) ** 2)
    values = np.fft.irfft2(spectrum, s=shape)
    return values / (values.std() + 1e-12)


def _cells(random: np.random.Generator) -> np.ndarray:
    """The nearest of some points, bent; now and then with walls."""
    from scipy.spatial import cKDTree

    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    rows, columns = (x + random.uniform(2, 10) * _noise(random, (SIDE, SIDE), 12.0) for x in (rows, columns))
    number = int(random.integers(20, 250))
    points = random.uniform(0, SIDE, (number, 2))
    distance, nearest = cKDTree(points).query(np.stack([rows, columns], -1), k=2)
    labels = nearest[..., 0] % int(random.integers(3, 30)) + 1
    if random.random() < 0.6:
        labels = np.where(distance[..., 1] - distance[..., 0] < random.uniform(1, 5), 0, labels)
    return labels


def _blobs(random: np.random.Generator) -> np.ndarray:
    """Smooth noise cut into levels, at two scales."""
    labels = np.zeros((SIDE, SIDE), int)
    for sigma in (random.uniform(12, 40), random.uniform(3, 9)):
        levels = np.sort(random.normal(0, 1, int(random.integers(1, 5))))
        labels = labels * (len(levels) + 1) + np.digitize(_noise(random, (SIDE, SIDE), sigma), levels)
    return labels


def _vessels(random: np.random.Generator) -> np.ndarray:
    """Branching curves that get thinner, on a ground of blobs."""
    labels = _noise(random, (SIDE, SIDE), 25.0) > random.normal()
    labels = labels.astype(int)
    tips = []
    for _ in range(int(random.integers(2, 7))):
        tips.append((random.uniform(0, SIDE, 2), random.uniform(0, 2 * np.pi), random.uniform(2, 6)))
    rows, columns = np.mgrid[-8:9, -8:9]
    while tips:
        place, angle, width = tips.pop()
        for _ in range(int(random.integers(30, 120))):
            angle += random.normal(0, 0.12)
            place = place + 1.5 * np.array([np.sin(angle), np.cos(angle)])
            row, column = (int(v) for v in np.round(place))
            if not (8 <= row < SIDE - 9 and 8 <= column < SIDE - 9):
                break
            labels[row - 8 : row + 9, column - 8 : column + 9][np.hypot(rows, columns) <= width / 2] = 2
        else:
            if width > 1.2:
                tips += [(place, angle + side * random.uniform(0.2, 0.8), 0.8 * width) for side in (-1, 1)]
    return labels


def _discs(random: np.random.Generator) -> np.ndarray:
    """Ellipses one above the other, large ones below; some with a nucleus."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), int)
    largest = random.uniform(8, 90)
    for radius in np.sort(random.uniform(3, largest, int(random.integers(15, 120))))[::-1]:
        row, column = random.uniform(0, SIDE, 2)
        angle, long = random.uniform(0, np.pi), random.uniform(1, 2.2)
        along = (np.cos(angle) * (rows - row) + np.sin(angle) * (columns - column)) / long
        across = np.cos(angle) * (columns - column) - np.sin(angle) * (rows - row)
        away = np.hypot(along, across) / radius
        labels[away < 1] = random.integers(1, 12)
        if random.random() < 0.5:
            labels[away < 0.4] = random.integers(1, 12)
    return labels


def _layers(random: np.random.Generator) -> np.ndarray:
    """Bent stripes of unequal width, cut by a few straight faults."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    angle = random.uniform(0, np.pi)
    height = np.cos(angle) * rows + np.sin(angle) * columns + 20 * _noise(random, (SIDE, SIDE), random.uniform(15, 50))
    for _ in range(int(random.integers(0, 4))):
        way = random.uniform(0, 2 * np.pi)
        side = np.cos(way) * (rows - random.uniform(0, SIDE)) + np.sin(way) * (columns - random.uniform(0, SIDE)) > 0
        height = height + side * random.uniform(-40, 40)
    edges = np.sort(random.uniform(height.min(), height.max(), int(random.integers(6, 40))))
    return np.digitize(height, edges)
