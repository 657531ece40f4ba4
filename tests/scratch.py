"""Where tests put what they write and nobody reads again: in memory, if there is plenty of it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import psutil

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders made in it have names of their own
# Three processes' servers and emulators came to 1.5 GB.
PLENTY = 6 * 2**30


def scratch_folder(name: str) -> Path:
    """A new folder, in memory where 6 GB of it are free; gone when the process exits."""
    in_memory = (
        os.access(IN_MEMORY, os.W_OK)
        and min(shutil.disk_usage(IN_MEMORY).free, psutil.virtual_memory().available) >= PLENTY
    )
    folder = Path(tempfile.mkdtemp(prefix=f"cdp-{name}-", dir=IN_MEMORY if in_memory else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
