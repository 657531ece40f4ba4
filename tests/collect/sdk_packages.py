"""The JavaScript SDKs, installed once into .cache/sdks from the pinned lock file beside them."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from cdp.settings import PROJECT_DIR

SDKS = Path(__file__).parent / "sdks"
CACHE = PROJECT_DIR / ".cache" / "sdks"
# Optional packages are speed-ups for other platforms; the lock file has no addresses for them.
INSTALL = ("install", "--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")


def install_sdks() -> Path:
    """Return the node_modules folder; skip the test where it cannot be had, saying why."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        pytest.skip("node or npm is not installed (Debian: nodejs npm)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = CACHE / "installed.json"
        wanted = (SDKS / "package-lock.json").read_bytes()
        if not installed.exists() or installed.read_bytes() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SDKS / name, CACHE / name)
            done = subprocess.run(
                [npm, *INSTALL], cwd=CACHE, capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"npm could not install the SDKs: {done.stderr.strip()[-300:]}")
            installed.write_bytes(wanted)
    return CACHE / "node_modules"
