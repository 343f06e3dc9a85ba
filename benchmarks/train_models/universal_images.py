"""The images that the universal model is trained on: which, from where, and how often each group is drawn from.

    python benchmarks/train_models/universal_images.py CACHE    fetches the pictures of Debian packages into CACHE

Besides them: photographs in scikit-image's wheel, scenes made here, and ``../shared/data``.
"""

import csv
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cnnreg.learning.features.synthetic import synthetic_scenes
from cnnreg.learning.features.views import Scene
from cnnreg.pairs.dataset import read_landmarks
from cnnreg.pipeline.describing import map_of_landmarks

SIDE = 384  # pixels of the longer side, at most
PACKAGES = {  # Debian package, licence of the pictures: how often it is drawn from
    "mate-backgrounds": 3.0,  # CC-BY-SA-4.0, GPL-2+
    "gnome-backgrounds": 1.5,  # CC-BY-SA-3.0
    "plasma-workspace-wallpapers": 2.0,  # LGPL, CC-BY-SA
    "ukui-wallpapers": 1.5,  # CC-BY-SA-3.0
    "lomiri-wallpapers": 0.3,  # CC-BY-SA, CC-BY, CC0
    "xplanet-images": 2.0,  # NASA, GPL
    "openuniverse-common": 2.0,  # GPL; maps of planets
    "colobot-common-textures": 2.0,  # GPL-3+
    "propaganda-debian": 1.0,  # GPL; textures
    "tuxpaint-stamps-default": 3.0,  # GPL-2, public domain
}
SYNTHETIC = (300, 4.0)
REAL_PAIRS = 30.0
SEED = 20180216


def fetch(cache: Path) -> None:
    """Unpack the packages below ``cache``, without installing them."""
    for name in PACKAGES:
        if not (cache / name).is_dir():
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(["apt-get", "download", name], cwd=folder, check=True)
                (package,) = Path(folder).glob("*.deb")
                subprocess.run(["dpkg", "-x", package, cache / name], check=True)


def groups(cache: Path, data: Path, pairs: list[dict[str, str]]) -> list[tuple[float, list[Scene]]]:
    """How often, and scenes; ``pairs`` are rows of any_pair's table that may be learned from."""
    found = [(weight, _kept(cache, name)) for name, weight in PACKAGES.items()]
    wheel = Path(skimage.__file__).parent / "data"
    found.append((4.0, _scenes(sorted(wheel.rglob("*")), 100)))
    found.append((SYNTHETIC[1], synthetic_scenes(SYNTHETIC[0], SEED)))
    for name in ("cardiac_cine_mr", "chest_xray", "brain_mr_2d"):
        files = sorted((data / name / "images").glob("*.png"))
        found.append((1.7, _scenes(random.Random(SEED).sample(files, 60), 100)))
    if pairs:
        found.append((REAL_PAIRS, [real_pair(data / "any_pair", row) for row in pairs]))
    for weight, scenes in found:
        print(f"{len(scenes)} scenes, weight {weight}", flush=True)
    return [(weight, scenes) for weight, scenes in found if scenes]


def any_pair_rows(data: Path) -> list[dict[str, str]]:
    with (data / "any_pair" / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def part_of(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Two thirds of every kind to learn from, and a third to judge by."""
    numbered: dict[str, int] = {}
    train, judge = [], []
    for row in rows:
        number = numbered[row["kind"]] = numbered.get(row["kind"], -1) + 1
        (judge if number % 3 == 2 else train).append(row)
    return train, judge


def _kept(cache: Path, name: str) -> list[Scene]:
    """The scenes of a package, kept small: wallpapers take minutes to decode."""
    kept = cache / f"{name}.pt"
    if not kept.exists():
        torch.save([scene.image for scene in _scenes(sorted((cache / name).rglob("*")), 160)], kept)
    return [Scene(image) for image in torch.load(kept, weights_only=True)]


def _scenes(files: list[Path], least: int) -> list[Scene]:
    scenes = []
    for file in files:
        if file.suffix.lower() not in {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif"} or file.is_symlink():
            continue
        if "screenshot" in file.name or "/doc/" in str(file) or file.stat().st_size < 4000:
            continue
        try:
            image = shrunk(colours(file))[0]
        except (OSError, ValueError):
            continue
        if min(image.shape[1:]) >= least and image.float().std() > 8:
            scenes.append(Scene(image))
    return _without_copies(scenes)


def _without_copies(scenes: list[Scene]) -> list[Scene]:
    """Wallpapers come in many sizes."""
    seen: dict[bytes, Scene] = {}
    for scene in scenes:
        tiny = F.interpolate(scene.image[None].float(), size=(6, 6), mode="area")
        seen.setdefault(bytes((tiny / 16).round().byte().flatten().tolist()), scene)
    return list(seen.values())


def colours(file: Path) -> Tensor:
    """(3, H, W) of uint8, from the .2th to the 99.8th percentile."""
    with Image.open(file) as image:
        if max(image.size) > 2000:
            image.draft("RGB", (1000, 1000))
        if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
            whole = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
        elif image.mode in {"P", "CMYK", "1"}:
            image = image.convert("RGB")
        values = np.asarray(image, dtype=np.float32)
    values = values[..., None] if values.ndim == 2 else values[..., :3]
    if values.ndim != 3:
        raise ValueError(f"{file} is no single image")
    low, high = np.percentile(values, [0.2, 99.8])
    values = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return torch.from_numpy(values.astype(np.uint8)).permute(2, 0, 1).expand(3, -1, -1).contiguous()


def shrunk(image: Tensor) -> tuple[Tensor, float]:
    """At most SIDE pixels long, and by which factor."""
    factor = min(1.0, SIDE / max(image.shape[1:]))
    if factor == 1:
        return image, factor
    size = [max(1, round(n * factor)) for n in image.shape[1:]]
    smaller = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    return smaller[0].clamp(0, 255).byte(), factor


def real_pair(folder: Path, row: dict[str, str]) -> Scene:
    """Two images of one scene, with the affine map of their landmarks; without it where none is good within 4 px."""
    (fixed, by_fixed), (moving, by_moving) = (shrunk(colours(folder / row[k])) for k in ("fixed", "moving"))
    ends = read_landmarks(*(folder / row[f"points_{k}"] for k in ("fixed", "moving")))
    matrix, off = map_of_landmarks(ends, (by_fixed, by_moving))
    return Scene(fixed, moving, matrix if off < 4 else None)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
