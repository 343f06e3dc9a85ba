"""cnnreg: deformable registration of 2D images with a small network that adapts itself to each pair.

The Python interface: :func:`register`, :class:`Registrar`, :class:`Registration`, :class:`Field`, :func:`read_field`,
:func:`warp`, :func:`evaluate`, :func:`adapt`, :func:`train`; on files :func:`apply` and the functions of
``transforms``. Nothing heavy is imported before one of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnreg.interface import transforms
    from cnnreg.interface.commands import adapt, evaluate, train
    from cnnreg.interface.fields import Field, read_field, warp
    from cnnreg.interface.registrar import Registrar, register
    from cnnreg.interface.registration import Registration
    from cnnreg.interface.transforms import apply

__version__ = "0.1.0"
__all__ = [
    "Field",
    "Registrar",
    "Registration",
    "adapt",
    "apply",
    "evaluate",
    "read_field",
    "register",
    "train",
    "transforms",
    "warp",
]

_HOMES = {
    "commands": {"adapt", "evaluate", "train"},
    "fields": {"Field", "read_field", "warp"},
    "registrar": {"Registrar", "register"},
    "registration": {"Registration"},
    "transforms": {"apply"},
}


def __getattr__(name: str) -> Any:
    if name == "transforms":
        return import_module("cnnreg.interface.transforms")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"cnnreg.interface.{module}"), name)
    raise AttributeError(f"module 'cnnreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
