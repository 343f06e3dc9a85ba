"""A model on disk: a folder with a card (JSON) and weights (safetensors), written and read, verified."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnreg.config import Config, InputConfig, NetworkConfig
from cnnreg.errors import ConfigError, ModelError, OutputError
from cnnreg.files import claim, locked, replacing, sha256, write_text
from cnnreg.learning.features.network import DescriptorNetwork, FeatureConfig
from cnnreg.learning.modelplaces import CARD, WEIGHTS
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.learning.representation.network import RepresentationConfig, RepresentationNetwork

CARD_FORMAT = 1
REGISTRATION, DESCRIPTORS, REPRESENTATION = "registration", "descriptors", "representation"
KINDS: dict[str, tuple[Any, type[nn.Module]]] = {
    REGISTRATION: (NetworkConfig, RegistrationNetwork),
    DESCRIPTORS: (FeatureConfig, DescriptorNetwork),
    REPRESENTATION: (RepresentationConfig, RepresentationNetwork),
}
PURPOSES = {  # what a model does, and the option or key that names it
    REGISTRATION: ("predicts displacement fields", "--model"),
    DESCRIPTORS: ("describes images for the initial transform", "--features"),
    REPRESENTATION: ("represents images for the metric 'learned'", "refinement.representation"),
}


@dataclass(frozen=True)
class Card:
    """What a model is: enough to rebuild it, to judge it, and to tell whether its weights are the right ones."""

    name: str
    description: str
    network: NetworkConfig | FeatureConfig | RepresentationConfig
    input: InputConfig
    sha256: str  # of the weights file
    training: dict[str, Any] = field(default_factory=dict)  # data, preset, parameters, steps
    metrics: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = CARD_FORMAT
    kind: str = REGISTRATION  # one of KINDS

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
            kind = values.setdefault("kind", REGISTRATION)  # which older cards do not have
            if kind not in KINDS:
                raise ModelError(f"{source} is of an unknown kind of model, {kind!r}; update cnnreg")
            values["network"] = KINDS[kind][0](**values["network"])
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
    network: RegistrationNetwork | DescriptorNetwork | RepresentationNetwork,
    folder: Path,
    config: Config,
    *,
    overwrite: bool = True,
    **facts: Any,
) -> Card:
    """Write weights, then card; ``facts`` are the card's other entries. Each file appears whole or not at all.

    What describes or represents images loses nothing by weights of half the bytes.

    Raises:
        OutputError: they cannot be written; or a model is there already, and ``overwrite`` is off.
    """
    from safetensors.torch import save

    kind = next(name for name, (_, network_type) in KINDS.items() if isinstance(network, network_type))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if kind != REGISTRATION:
        state = {name: tensor.half() for name, tensor in state.items()}
    weights = save(state)  # written by Python, whose errors are those of the system
    versions = {name: metadata.version(name) for name in ("cnnreg", "torch")}
    digest = hashlib.sha256(weights).hexdigest()
    card = Card(network=network.config, input=config.input, sha256=digest, versions=versions, kind=kind, **facts)
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
    """Read the folder of a model that predicts displacement fields; hash, card and shapes must all agree.

    Raises:
        ModelError: something is missing, damaged, altered, or does not fit; or it is a model of another kind.
    """
    card, network = load_network(folder)
    if not isinstance(network, RegistrationNetwork):
        raise _other_kind(folder, card.kind, REGISTRATION)
    return Model(card, network, folder)


def load_descriptors(folder: Path) -> DescriptorNetwork:
    """Read the folder of a model that describes images.

    Raises:
        ModelError: as :func:`load_model` does.
    """
    card, network = load_network(folder)
    if not isinstance(network, DescriptorNetwork):
        raise _other_kind(folder, card.kind, DESCRIPTORS)
    return network


def load_representation(folder: Path) -> RepresentationNetwork:
    """Read the folder of a model that represents images, pixel by pixel.

    Raises:
        ModelError: as :func:`load_model` does.
    """
    card, network = load_network(folder)
    if not isinstance(network, RepresentationNetwork):
        raise _other_kind(folder, card.kind, REPRESENTATION)
    return network


def _other_kind(folder: Path, kind: str, wanted: str) -> ModelError:
    (does, option), (needed, asked) = PURPOSES[kind], PURPOSES[wanted]
    return ModelError(f"{folder} {does}; name it as {option}, and as {asked} a model that {needed}")


def load_network(folder: Path) -> tuple[Card, nn.Module]:
    """Read a model folder of any kind."""
    from safetensors.torch import load_file

    card = verify(folder)
    network = KINDS[card.kind][1](card.network)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"{folder}: the card's network does not fit the weights ({reason})") from None
    except Exception as error:  # safetensors has its own error type for a file it cannot parse
        raise ModelError(f"{folder / WEIGHTS} is not a safetensors file ({error})") from None
    if not all(torch.isfinite(p).all() for p in network.parameters()):
        raise ModelError(f"{folder / WEIGHTS} holds weights that are not finite")
    return card, network.eval()


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
