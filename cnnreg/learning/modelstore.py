"""Models for the user's cache: adding one, pulling one; whole and verified, or not at all."""

import dataclasses
import errno
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cnnreg.errors import ModelError, OutputError, UsageError, unknown_name
from cnnreg.learning import modelplaces
from cnnreg.learning.modelcards import verify
from cnnreg.learning.modelplaces import CARD, NAME, SHIPPED, WEIGHTS


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

    Raises:
        ModelError: it cannot be had, is damaged, or another model has the name of one that ships with cnnreg.
    """
    if source and re.match(r"https?://", source):
        if offline or modelplaces.is_offline():
            raise ModelError(f"offline: {source} was not asked for {name!r}; pull without --source for a shipped model")
        base = f"{source.rstrip('/')}/{name}/"

        def download(target: Path) -> None:
            _download(base, target)
            _check_shipped(name, target, source)

        return _install(name, download, overwrite=overwrite)
    if source and "://" in source:
        raise UsageError(f"--source must be a folder or an http(s) address, got {source}")
    root = Path(source).expanduser() if source else modelplaces.shipped_folder()
    names = [p.name for p in root.iterdir() if (p / CARD).is_file()] if root.is_dir() else []
    if name not in names:
        raise UsageError(f"{root}: {unknown_name('model', name, names)}")

    def fill(target: Path) -> None:
        for file in (CARD, WEIGHTS):
            shutil.copyfile(root / name / file, target / file)
        _check_shipped(name, target, str(root))

    return _install(name, fill, overwrite=overwrite)


def _check_shipped(name: str, folder: Path, source: str) -> None:
    """A card tells whether weights are whole; whether they are those of this name, only what is known beforehand."""
    found, expected = verify(folder).sha256, SHIPPED.get(name)
    if expected and found != expected:
        raise ModelError(
            f"{source} has another model under the name {name}, which ships with cnnreg: its sha256 is "
            f"{found[:12]}..., {expected[:12]}... was expected; give it another name, or use its folder with --model"
        )


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
    if not NAME.fullmatch(name):
        raise UsageError(f"a model's name has letters, digits, '.', '_' and '-', got {name!r}")
    root, target = modelplaces.cache_folder(), modelplaces.cache_folder() / name
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
