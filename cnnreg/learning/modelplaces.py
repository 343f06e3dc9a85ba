"""Where models are: the user's cache, and the models that ship with cnnreg; nothing heavy is imported to list them.

A name is looked for in the cache, then among the shipped models, never in the current folder.
"""

import os
import re
from pathlib import Path

import platformdirs

from cnnreg.errors import ModelError, UsageError, unknown_name

CARD, WEIGHTS = "card.json", "weights.safetensors"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHIPPED = {  # the SHA-256 of their weights: a model of such a name that comes from elsewhere is the same, or refused
    "cardiac-cine-mr": "0eb04d3d1e7779e7a409593b82f2c4aa290fef2e610f0c0ad5a667f43532ce25",
    "chest-xray": "64bef7b866c0d76b5283c4ce56cda9c4a324f740f185da5a34011140b72734cf",
    "contrast-2d": "798876e9a487b42c20a671e9f7c40b4970516efba4d7dde2683b0c752a672468",
    "universal-2d": "6f67a6b418b66764e700120a1690e3af72c2d954402a435b2a7be6e0d1e2f67f",
}


def cache_folder() -> Path:
    """The user's model cache; ``CNNREG_CACHE`` overrides it. Read at each use, so that setting it late works."""
    override = os.environ.get("CNNREG_CACHE")
    return Path(override).expanduser() / "models" if override else platformdirs.user_cache_path("cnnreg") / "models"


def is_offline() -> bool:
    """Whether ``CNNREG_OFFLINE`` forbids the network."""
    return os.environ.get("CNNREG_OFFLINE", "") not in {"", "0"}


def shipped_folder() -> Path:
    """The models that come with cnnreg: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def available() -> dict[str, Path]:
    """Every model that a name finds; the user's cache hides a shipped model of the same name."""
    folders = [p for root in (shipped_folder(), cache_folder()) if root.is_dir() for p in sorted(root.iterdir())]
    return {p.name: p for p in folders if NAME.fullmatch(p.name) and (p / CARD).is_file()}  # not those half filled


def find(name: str) -> Path:
    """The folder of a model, given by name or by the path of a folder that ``train`` or ``adapt`` wrote."""
    models = available()
    if name in models:
        return models[name]
    path = Path(name).expanduser()
    if (path / CARD).is_file():
        return path
    if path.exists() or len(path.parts) > 1:
        raise ModelError(f"{name} is not a model folder: it has no {CARD}")
    raise UsageError(unknown_name("model", name, models) + ", or the path of a model folder")
