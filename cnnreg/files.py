"""Files that are written whole or not at all, and the hashes that tell them apart."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnreg.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, with the same suffixes, that takes its place when the block ends well.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner can read
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def claim(folder: Path) -> None:
    """Make sure that files can be written to ``folder``, which need not exist yet.

    Raises:
        OutputError: it is a file, or neither it nor the nearest folder above it can be written to.
    """
    try:
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise OutputError(f"cannot write to the folder {folder}: {existing} is a file")
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise OutputError(f"cannot write to the folder {folder}: {error.strerror}") from None


def claim_results(folder: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Like :func:`claim`, and that none of the results ``names`` (patterns) lies there yet, unless ``overwrite``."""
    claim(folder)
    old = results(folder, names)
    if old and not overwrite:
        raise OutputError(
            f"{old[0]} exists; give --overwrite to replace the results in {folder}, or another folder with -o"
        )


def results(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of ``folder`` that match any of ``names``."""
    return [path for name in names for path in sorted(folder.glob(name)) if path.is_file()]


@contextmanager
def publishing(folder: Path, *, replaces: Iterable[str]) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder`` when the block ends well, all of them or none.

    Files there that match ``replaces`` are earlier results and go; others are left alone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    except OSError as error:
        raise OutputError(f"cannot write to the output folder {folder}: {error.strerror}") from None
    try:
        yield staging
        for stale in results(folder, replaces):
            stale.unlink()
        for file in staging.iterdir():
            file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(f"cannot write the results to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path``, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def stem(path: Path) -> str:
    """A file's name without its suffix, ``.nii.gz`` being one."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
