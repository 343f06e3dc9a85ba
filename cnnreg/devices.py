"""Which processor does the work."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cnnreg.cores import worthwhile
from cnnreg.errors import DeviceError, UsageError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


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


def prepare_cpu(threads: int | None, *, pixels: int | None = None) -> int:
    """Settle how the CPU works; ``threads`` of torch and SimpleITK, None = what images of so many ``pixels`` are worth.

    Returns the number of threads.

    Torch's threads are started here, such that numbers too small for float32's full precision are zero to them: a CPU
    handles these many times slower. (Threads inherit this from the one that starts them, which itself goes back.)
    """
    import SimpleITK as sitk

    _keep_memory()
    threads = threads or worthwhile(pixels, most=torch.get_num_threads())
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    if torch.set_flush_denormal(True):
        torch.zeros(1 << 18).add_(1)  # long enough for all of them
        torch.set_flush_denormal(False)
    return threads


@contextmanager
def threads_kept() -> Iterator[None]:
    """Afterwards torch and SimpleITK have as many threads as before: the caller's own work is not slowed down."""
    import SimpleITK as sitk

    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


def _keep_memory() -> None:
    """Have freed buffers reused by the next iteration: glibc gives them back to the system, page by page.

    Up to 16 MiB, such as a fifth off the time at 1024 x 1024 pixels; larger ones would leave holes and raise the peak.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)  # other C libraries have no such habit
        set_option(MMAP_THRESHOLD, 1 << 24)
        set_option(TRIM_THRESHOLD, (1 << 31) - 1)
