"""Where tests put what they write and nobody reads again: in memory, if there is plenty of it."""

import os
import shutil
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders made in it have names of their own
# Three processes' servers and emulators came to 1.5 GB.
PLENTY = 6 * 2**30


def scratch_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    """A new folder, in memory where 6 GB are free there; gone when it is closed, or at exit."""
    in_memory = os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free >= PLENTY
    return tempfile.TemporaryDirectory(
        prefix=f"cdp-{name}-", dir=IN_MEMORY if in_memory else None, ignore_cleanup_errors=True
    )
