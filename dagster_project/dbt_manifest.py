"""The dbt manifest that Dagster's definitions are built from, kept as new as the project.

`dbt parse` needs no database, so the definitions load while PostgreSQL is away. Its answer is
kept under `dbt_project/target/dagster` together with a fingerprint of every file it read; it is
parsed again only when that changes. Several processes may load at once: one parses, the others
wait, and the file is replaced in one step. An image built with `python -m
dagster_project.dbt_manifest` never needs to write it.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cdp.settings import PROJECT_DIR
from dagster_project.dbt_process import DbtError, run_dbt

DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
SEEDS_DIR = PROJECT_DIR / "seeds"
MANIFEST_DIR = DBT_PROJECT_DIR / "target" / "dagster"
PARSED_SUFFIXES = frozenset({".sql", ".yml", ".yaml", ".md", ".csv", ".py"})
# Nothing connects while parsing; the profile only has to be complete.
NO_DATABASE = {"CDP_ENGINE": "postgres", "CDP_PG_HOST": "localhost", "CDP_PG_DATABASE": "cdp"}


def load_manifest(
    project_dir: Path = DBT_PROJECT_DIR,
    seeds_dir: Path = SEEDS_DIR,
    manifest_dir: Path = MANIFEST_DIR,
) -> dict[str, Any]:
    """The manifest of the dbt project as its files are now.

    Raises DbtError with dbt's message when the project does not parse.
    """
    manifest_path = manifest_dir / "manifest.json"
    fingerprint_path = manifest_dir / "fingerprint"
    fingerprint = _fingerprint(project_dir, seeds_dir)
    if not _is_current(manifest_path, fingerprint_path, fingerprint):
        manifest_dir.mkdir(parents=True, exist_ok=True)
        with (manifest_dir / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(manifest_path, fingerprint_path, fingerprint):
                _parse(project_dir, manifest_dir)
                fingerprint_path.write_text(fingerprint)
    manifest: dict[str, Any] = json.loads(manifest_path.read_text())
    return manifest


def _is_current(manifest_path: Path, fingerprint_path: Path, fingerprint: str) -> bool:
    return (
        manifest_path.exists()
        and fingerprint_path.exists()
        and fingerprint_path.read_text() == fingerprint
    )


def _parse(project_dir: Path, manifest_dir: Path) -> None:
    with tempfile.TemporaryDirectory(dir=manifest_dir) as scratch:
        parsed = run_dbt(
            ["parse"],
            project_dir=project_dir,
            target_dir=Path(scratch),
            environment=NO_DATABASE,
        )
        if not parsed.success:
            raise DbtError(f"The dbt project does not parse: {parsed.exception}")
        # The fingerprint goes first and comes back last: a crash in between means parsing again.
        (manifest_dir / "fingerprint").unlink(missing_ok=True)
        shutil.move(Path(scratch) / "manifest.json", manifest_dir / "manifest.json")


def _fingerprint(project_dir: Path, seeds_dir: Path) -> str:
    """Changes whenever a file that dbt reads does. Contents, because images round file times."""
    digest = hashlib.sha256(version("dbt-core").encode())
    for folder in (project_dir, seeds_dir):
        for path in _parsed_files(folder):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder)}\0{content}\n".encode())
    return digest.hexdigest()


def _parsed_files(folder: Path) -> Iterator[Path]:
    made_by_dbt = {folder / "target", folder / "logs"}
    for path in sorted(folder.rglob("*")):
        if path.suffix in PARSED_SUFFIXES and made_by_dbt.isdisjoint(path.parents):
            yield path


if __name__ == "__main__":
    load_manifest()
