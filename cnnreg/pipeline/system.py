"""What this machine and installation are."""

import os
import platform
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cnnreg.learning import modelplaces

SCHEMA_VERSION = 1  # of report.schema.json


def describe_run(command: list[str]) -> dict[str, Any]:
    """What every report begins with: the command, and when, where and with which versions it ran."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": platform.node(),
        "working_directory": str(Path.cwd()),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Asked once: of a registration in a batch, reading them anew would take a tenth."""
    names = ("cnnreg", "torch", "SimpleITK", "numpy")
    return ("python", platform.python_version()), *((name, metadata.version(name)) for name in names)


def describe_system() -> dict[str, Any]:
    """Versions, devices, folders and threads."""
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        **versions(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda devices": cuda or "none",
        "auto device": "cuda" if cuda else "cpu",
        "model cache": str(modelplaces.cache_folder()),
        "shipped models": str(modelplaces.shipped_folder()),
        "offline": modelplaces.is_offline(),
    }
