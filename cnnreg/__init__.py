"""cnnreg: deformable registration of 2D images with a small network that adapts itself to each pair.

The Python interface: :func:`register`, :class:`Registrar`, :class:`Registration`, :class:`Field`, :func:`read_field`,
:func:`warp`, :func:`evaluate`, :func:`adapt`, :func:`train`. Nothing heavy is imported before one of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnreg.interface.commands import adapt, evaluate, train
    from cnnreg.interface.fields import Field, read_field, warp
    from cnnreg.interface.registrar import Registrar, register
    from cnnreg.interface.registration import Registration

__version__ = "0.1.0"
__all__ = ["Field", "Registrar", "Registration", "adapt", "evaluate", "read_field", "register", "train", "warp"]

_HOMES = {
    "commands": {"adapt", "evaluate", "train"},
    "fields": {"Field", "read_field", "warp"},
    "registrar": {"Registrar", "register"},
    "registration": {"Registration"},
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"cnnreg.interface.{module}"), name)
    raise AttributeError(f"module 'cnnreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
