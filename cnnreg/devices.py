"""Which processor does the work."""

import re

import torch

from cnnreg.errors import DeviceError, UsageError


def resolve_device(name: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:i`` to a device that is there; ``auto`` takes CUDA where it works.

    Raises:
        UsageError: not a device name. DeviceError: that device is not on this machine.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:i, got {name!r}")
    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        raise DeviceError(
            f"{name} was asked for, but torch {torch.__version__} sees no CUDA device here; use --device cpu"
        )
    count = torch.cuda.device_count()
    if ":" in name and int(name.split(":")[1]) >= count:
        raise DeviceError(
            f"{name} was asked for, but this machine has {count} CUDA device(s): cuda:0 to cuda:{count - 1}"
        )
    return name


def device_title(device: str) -> str:
    """The device's name as a person would say it."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def use_threads(threads: int | None) -> int:
    """Limit the CPU threads of torch and SimpleITK, None = as they choose; returns torch's number."""
    import SimpleITK as sitk

    if threads:
        torch.set_num_threads(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return torch.get_num_threads()
