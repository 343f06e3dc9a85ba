"""From the options of a command to the parameters that they change."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnnreg.cli import options
from cnnreg.errors import UsageError, unknown_name
from cnnreg.synonyms import METRICS

if TYPE_CHECKING:
    from cnnreg.pipeline.setup import Setup

COMMA = 5  # pixels this many times as long as wide, in whole numbers, are taken for a decimal comma


def make_setup(
    *,
    preset: str | None,
    parameters: Path | None,
    model: str,
    device: str,
    seed: int,
    threads: int | None,
    changes: Mapping[str, Mapping[str, object]] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> "Setup":
    """Resolve parameters: a preset or a file, then what single options change."""
    from cnnreg.interface import setup

    return setup.make_setup(
        preset=preset,
        parameters=parameters,
        model=model,
        device=device,
        seed=seed,
        threads=threads,
        changes=changes,
        percentiles=percentiles,
    )


def initial(init: str | None) -> tuple[dict[str, dict[str, object]], Path | None]:
    """What ``--init`` changes in the parameters, or the transform file that it names."""
    if init is None:
        return {}, None
    if "." in init or "/" in init or Path(init).is_file():
        return {}, Path(init)
    if init not in options.INITS:
        raise UsageError(f"{unknown_name('value of --init', init, options.INITS)}, or a transform file")
    return {"alignment": {"init": init}}, None


def padding(choice: str | None) -> dict[str, dict[str, object]]:
    """What ``--padding`` changes in the parameters."""
    return section("alignment", padding="keep" if choice == "off" else choice)


def similarity(name: str | None) -> dict[str, dict[str, object]]:
    """What ``--metric`` changes in the parameters: of iterations on the field, and of those on the weights."""
    if name is None:
        return {}
    name = METRICS.get(name, name)
    chosen: dict[str, object] = {"similarity": name}
    return {"refinement": chosen} | ({} if name == "auto" else {"loss": chosen})


def numbers(text: str | None, option: str, *, rising: bool = False) -> tuple[float, float] | None:
    """Two numbers with a comma between; of a spacing, which is positive, one may stand for both."""
    if text is None:
        return None
    words = text.split(",")
    if not rising and len(words) == 1:
        words *= 2
    try:
        first, second = (float(word) for word in words)
    except ValueError:
        first, second = 0.0, 0.0  # which is neither
    if not (math.isfinite(first + second) and (first < second if rising else min(first, second) > 0)):
        expected = "LOW,HIGH, two numbers of which the first is smaller" if rising else "X or X,Y, above 0"
        raise UsageError(f"{option} must be {expected}, got {text!r}")
    if not rising and max(first, second) >= COMMA * min(first, second) and "." not in text:
        raise UsageError(
            f"{option} {text} means {first:g} by {second:g} mm; write {text.replace(',', '.')} for a decimal number, "
            f"or {first},{second} if you mean two"
        )
    return first, second


def two(
    text: str | None, moving: str | None, option: str, *, rising: bool = False
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Of the fixed and of the moving image, which is the same unless it is given."""
    fixed = numbers(text, option, rising=rising)
    return fixed, numbers(moving, option.replace("--", "--moving-"), rising=rising) or fixed


def section(name: str, **values: object) -> dict[str, dict[str, object]]:
    """What options that were given change in a section of the parameters."""
    return {name: {key: value for key, value in values.items() if value is not None}}


def merged(*changes: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Changes of the parameters together, by section."""
    sections = {name for change in changes for name in change}
    return {name: {k: v for change in changes for k, v in change.get(name, {}).items()} for name in sections}


def both_or_neither(one: object, other: object, names: str) -> None:
    """Two options that make sense only together."""
    if (one is None) != (other is None):
        raise UsageError(f"{names} go together: give both or neither")
