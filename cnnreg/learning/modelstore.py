"""Models on disk: a folder with a card (JSON) and weights (safetensors); finding one by name or path; pulling one.

A name is looked for in the user's cache, then among the models that ship with cnnreg, never in the current folder.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs
import torch

from cnnreg.config import Config, InputConfig, NetworkConfig
from cnnreg.errors import ConfigError, ModelError, OutputError, UsageError, unknown_name
from cnnreg.files import claim, locked, replacing, sha256, write_text
from cnnreg.learning.network import RegistrationNetwork

CARD, WEIGHTS = "card.json", "weights.safetensors"
CARD_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Card:
    """What a model is: enough to rebuild it, to judge it, and to tell whether its weights are the right ones."""

    name: str
    description: str
    network: NetworkConfig
    input: InputConfig
    sha256: str  # of the weights file
    training: dict[str, Any] = field(default_factory=dict)  # data, preset, parameters, steps
    metrics: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = CARD_FORMAT

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str) -> "Card":
        try:
            values = json.loads(text)
            if values["format"] != CARD_FORMAT:
                raise ModelError(
                    f"{source} has card format {values['format']}, this cnnreg reads {CARD_FORMAT}; update cnnreg"
                )
            if not isinstance(values["sha256"], str):
                raise TypeError(f"sha256 must be text, got {values['sha256']!r}")
            values["network"] = NetworkConfig(**values["network"])
            values["input"] = InputConfig(**values["input"])
            return cls(**values)
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            raise ModelError(f"{source} is not a valid model card ({error}); fetch or train the model again") from None


@dataclass(frozen=True)
class Model:
    """A network with its card."""

    card: Card
    network: RegistrationNetwork
    path: Path | None = None  # None: random weights


def save_model(
    network: RegistrationNetwork, folder: Path, config: Config, *, overwrite: bool = True, **facts: Any
) -> Card:
    """Write weights, then card; ``facts`` are the card's other entries. Each file appears whole or not at all.

    Raises:
        OutputError: they cannot be written; or a model is there already, and ``overwrite`` is off.
    """
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = save(state)  # written by Python, whose errors are those of the system
    versions = {name: metadata.version(name) for name in ("cnnreg", "torch")}
    digest = hashlib.sha256(weights).hexdigest()
    card = Card(network=network.config, input=config.input, sha256=digest, versions=versions, **facts)
    claim(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not overwrite and (folder / CARD).exists():
            raise OutputError(f"{folder / CARD} was written by another run in the meantime; give another folder")
        with replacing(folder / WEIGHTS) as temporary:
            temporary.write_bytes(weights)
        write_text(card.to_json(), folder / CARD)
    return card


def load_model(folder: Path) -> Model:
    """Read a model folder; the hash, the card and the shapes must all agree.

    Raises:
        ModelError: something is missing, damaged, altered, or does not fit.
    """
    from safetensors.torch import load_file

    card = verify(folder)
    network = RegistrationNetwork(card.network)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"{folder}: the card's network does not fit the weights ({reason})") from None
    except Exception as error:  # safetensors has its own error type for a file it cannot parse
        raise ModelError(f"{folder / WEIGHTS} is not a safetensors file ({error})") from None
    if not all(torch.isfinite(p).all() for p in network.parameters()):
        raise ModelError(f"{folder / WEIGHTS} holds weights that are not finite")
    return Model(card, network.eval(), folder)


def read_card(folder: Path) -> Card:
    """The card of a model folder."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model card {folder / CARD} ({error})") from None
    return Card.from_json(text, source=str(folder / CARD))


def verify(folder: Path) -> Card:
    """Check a model folder's card and the hash of its weights, without loading them."""
    card = read_card(folder)
    try:
        digest = sha256(folder / WEIGHTS)
    except OSError as error:
        raise ModelError(f"{folder} is not a complete model: cannot read {WEIGHTS} ({error.strerror})") from None
    if digest != card.sha256:
        raise ModelError(
            f"{folder / WEIGHTS} is truncated or altered: its sha256 is {digest[:12]}..., "
            f"the card says {card.sha256[:12]}...; fetch it again with 'cnnreg models pull NAME --overwrite'"
        )
    return card


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
