"""cnnreg: deformable registration of 2D images with a small network that adapts itself to each pair.

>>> import cnnreg
>>> result = cnnreg.register(fixed, moving)  # arrays, tensors, SimpleITK images or paths
>>> result.warped, result.field, result.measures
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnreg.errors import CnnregError
    from cnnreg.interface.field import Field, read_field, warp
    from cnnreg.interface.registrar import Registrar, register
    from cnnreg.interface.registration import Registration

__version__ = "0.1.0"
__all__ = ["CnnregError", "Field", "Registrar", "Registration", "read_field", "register", "warp"]

_HOMES = {  # imported when first asked for, so that ``import cnnreg`` takes no time
    "CnnregError": "cnnreg.errors",
    "Field": "cnnreg.interface.field",
    "Registrar": "cnnreg.interface.registrar",
    "Registration": "cnnreg.interface.registration",
    "read_field": "cnnreg.interface.field",
    "register": "cnnreg.interface.registrar",
    "warp": "cnnreg.interface.field",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnreg' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
