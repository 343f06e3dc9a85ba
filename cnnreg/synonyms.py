"""Further names of parameters and of metrics: those of other tools, and those of earlier versions."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cnnreg.errors import ConfigError

SYNONYMS: dict[str, tuple[frozenset[str], ...]] = {  # by section: names of one and the same key
    "loss": (frozenset({"similarity", "metric"}),),
    "adaptation": (frozenset({"steps", "iterations"}),),
    "training": (frozenset({"steps", "iterations"}),),
    "refinement": (
        frozenset({"similarity", "metric"}),
        frozenset({"pace", "step_size"}),
        frozenset({"longest", "max_step", "maximum_step_length"}),
        frozenset({"smoothing", "update_sigma"}),
        frozenset({"softening", "total_sigma"}),
        frozenset({"floor", "variance_epsilon"}),
    ),
}
METRICS = {"cc": "lncc", "mattes": "mi", "meansquares": "mse", "demons": "mse"}  # the names in ANTs and elastix


def by_key(sections: Mapping[str, Mapping[str, Any]], keys: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Any]]:
    """The values of ``sections`` under the names among each section's ``keys``; unknown names stay as they are.

    Sections without values are left out.

    Raises:
        ConfigError: a key is given under two of its names.
    """
    return {name: _by_key(name, values, set(keys[name])) for name, values in sections.items() if values}


def _by_key(section: str, values: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    given: dict[str, str] = {}
    for name, value in values.items():
        groups = (group for group in SYNONYMS.get(section, ()) if name in group)
        key = name if name in known else next((k for group in groups for k in group & known), name)
        if key in found:
            raise ConfigError(f"{section}.{given[key]} and {section}.{name} are two names of one key; give one of them")
        found[key], given[key] = value, name
    return found


def of_other_tool(path: Path) -> str:
    """What to say of a parameter file that is elastix's, such as ``(Metric "AdvancedMattesMutualInformation")``."""
    if not re.search(rb"^[ \t]*\(\w+( [^()]*)?\)[ \t\r]*(//.*)?$", path.read_bytes(), re.MULTILINE):
        return ""
    return (
        "it is a parameter file of elastix; 'cnnreg presets show default' prints one of cnnreg's, and --metric, "
        "--init and --max-size say most of what such files are changed for"
    )
