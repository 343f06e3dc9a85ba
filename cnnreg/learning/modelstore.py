"""Models by name: the user's cache and the models that ship with cnnreg; adding one, pulling one.

A name is looked for in the user's cache, then among the models that ship with cnnreg, never in the current folder.
"""

import dataclasses
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from cnnreg.errors import ModelError, OutputError, UsageError, unknown_name
from cnnreg.learning.modelcards import CARD, WEIGHTS, verify

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    return {p.name: p for p in folders if _NAME.fullmatch(p.name) and (p / CARD).is_file()}  # not those half filled


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


def add(folder: Path, name: str, *, overwrite: bool = False) -> Path:
    """Copy a model folder into the cache under ``name``."""
    card = verify(folder)
    renamed = dataclasses.replace(card, name=name).to_json()

    def fill(target: Path) -> None:
        shutil.copyfile(folder / WEIGHTS, target / WEIGHTS)
        (target / CARD).write_text(renamed, encoding="utf-8")

    return _install(name, fill, overwrite=overwrite)


def pull(name: str, *, source: str | None = None, offline: bool = False, overwrite: bool = False) -> Path:
    """Copy a model, verified, into the user's cache.

    Args:
        source: a folder or an http(s) address that holds ``name/card.json``; None for the shipped models.
        offline: refuse to use the network, as ``CNNREG_OFFLINE=1`` does.
    """
    if source and re.match(r"https?://", source):
        if offline or is_offline():
            raise ModelError(f"offline: {source} was not asked for {name!r}; pull without --source for a shipped model")
        base = f"{source.rstrip('/')}/{name}/"
        return _install(name, lambda target: _download(base, target), overwrite=overwrite)
    if source and "://" in source:
        raise UsageError(f"--source must be a folder or an http(s) address, got {source}")
    root = Path(source).expanduser() if source else shipped_folder()
    names = [p.name for p in root.iterdir() if (p / CARD).is_file()] if root.is_dir() else []
    if name not in names:
        raise UsageError(f"{root}: {unknown_name('model', name, names)}")

    def fill(target: Path) -> None:
        for file in (CARD, WEIGHTS):
            shutil.copyfile(root / name / file, target / file)

    return _install(name, fill, overwrite=overwrite)


def _download(base: str, target: Path) -> None:
    import http.client  # here, as these take long to import
    import urllib.request

    for file in (CARD, WEIGHTS):
        try:
            with urllib.request.urlopen(base + file, timeout=30) as response, (target / file).open("wb") as out:
                shutil.copyfileobj(response, out)
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: not an address
            reason = getattr(error, "reason", error)
            raise ModelError(f"cannot download {base + file}: {reason}; check the address and the connection") from None


def _install(name: str, fill: Any, *, overwrite: bool) -> Path:
    """Fill a temporary folder in the cache, verify it, then rename it: other jobs see a whole model or none."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"a model's name has letters, digits, '.', '_' and '-', got {name!r}")
    root, target = cache_folder(), cache_folder() / name
    if (target / CARD).is_file() and not overwrite:
        try:
            verify(target)
        except ModelError as error:
            raise ModelError(f"the cache holds a damaged {name}: {error}") from None
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".partial-{name}-", dir=root))
    except OSError as error:
        raise OutputError(
            f"cannot write to the model cache {root}: {error.strerror}; set CNNREG_CACHE to another folder"
        ) from None
    try:
        fill(temporary)
        verify(temporary)
        temporary.chmod(0o755)  # mkdtemp keeps others out; a cache may be shared
        _swap_in(temporary, target, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"cannot copy {name} to {target}: {error.strerror} ({error.filename})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _swap_in(new: Path, target: Path, *, overwrite: bool) -> None:
    while True:
        try:
            new.rename(target)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if (target / CARD).is_file() and not overwrite:  # another job was first, and may be reading it already
                return
        old = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
        try:  # a folder cannot be replaced in one step: move the old one aside; another job may be doing the same
            target.rename(old / target.name)
        except FileNotFoundError:
            pass
        finally:
            shutil.rmtree(old, ignore_errors=True)
