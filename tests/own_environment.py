"""Tools that tests need and the project must not depend on: each in an environment of its own.

The first test that asks for one makes it under .cache/ (seconds, with uv's cache).
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdp.settings import PROJECT_DIR

CACHE = PROJECT_DIR / ".cache"


def python_with(
    name: str, requirements: tuple[str, ...], *, version: str, overrides: tuple[str, ...] = ()
) -> Path:
    """Path of a Python `version` (like 3.13) with `requirements`; skips the test where it cannot.

    `overrides` are versions that hold whatever the requirements themselves ask for.
    """
    digest = hashlib.sha256("\n".join(requirements + overrides).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, name, requirements, overrides, version)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _install(
    folder: Path,
    name: str,
    requirements: tuple[str, ...],
    overrides: tuple[str, ...],
    version: str,
) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = _find_python(version)
    if python is None:
        pytest.skip(f"{name} needs CPython {version}, and none was found")
    subprocess.run([uv, "venv", "--quiet", "--python", str(python), str(folder)], check=True)
    overriding = folder / "overrides.txt"
    overriding.write_text("\n".join(overrides))
    installed = subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")),
            *("--overrides", str(overriding), *requirements),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"{name} could not be installed: {installed.stderr[-500:]}")


def _find_python(version: str) -> Path | None:
    candidates = [shutil.which(f"python{version}"), shutil.which("python3"), sys.executable]
    if pyenv := shutil.which("pyenv"):
        command = [pyenv, "prefix", version]
        found = subprocess.run(command, check=False, capture_output=True, text=True)
        candidates.append(str(Path(found.stdout.strip()) / "bin" / f"python{version}"))
    numbers = tuple(int(number) for number in version.split("."))
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            command = [candidate, "-c", f"import sys; sys.exit(sys.version_info[:2] != {numbers})"]
            if not subprocess.run(command, check=False, capture_output=True).returncode:
                return Path(candidate)
    return None
