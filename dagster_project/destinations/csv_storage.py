"""Where CSV files lie: a folder, or any address that fsspec opens.

A file appears whole or not at all. In a folder it is written beside its place under another name,
forced to disk, and renamed. To an object store it goes from a temporary file by a single put, which
appears at its end; elsewhere (SFTP, SMB) it is put under another name and moved.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import fsspec

from dagster_project.destinations.destination import DeliveryError

# Stores in which a put becomes visible only when it is complete.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"})


class Storage(Protocol):
    """A flat place for files."""

    def replacing(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A file that takes the place of `name` when the block ends well, and vanishes if not."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def names(self, beginning: str) -> list[str]:
        """The names of the files that begin so."""

    def address(self, name: str) -> str:
        """Where a file is, for people."""


def open_storage(address: str) -> Storage:
    """A local path, `file://`, or an address of fsspec such as s3://bucket/folder.

    Raises DeliveryError when the file system is not installed.
    """
    protocol, separator, path = address.partition("://")
    if not separator:
        return LocalFolder(Path(address))
    if protocol in ("file", "local"):
        return LocalFolder(Path(path))
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise DeliveryError(
            f"{address} cannot be opened: {error}. Install the package that fsspec names, or "
            "correct the address in seeds/destinations.csv."
        ) from None
    return RemoteFolder(address)


@dataclass(frozen=True)
class LocalFolder:
    """Personal data: files are readable by the owner and the group only."""

    folder: Path

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        scratch = path.with_name(f".{name}.partial")
        # What a killed delivery left; an audience is delivered by one process at a time.
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        _sync_folder(self.folder)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def names(self, beginning: str) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name for path in self.folder.iterdir() if path.name.startswith(beginning)
        )

    def address(self, name: str) -> str:
        return str(self.folder / name)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind fsspec."""

    url: str

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        system, folder = self._open()
        path = f"{folder}/{name}"
        with tempfile.NamedTemporaryFile(prefix="cdp-csv-") as spooled:
            yield spooled  # type: ignore[misc]  # a temporary file is a BinaryIO in all but name
            spooled.flush()
            if _protocol(self.url) in OBJECT_STORES:
                system.put_file(spooled.name, path)
                return
            system.makedirs(folder, exist_ok=True)
            scratch = f"{folder}/.{name}.partial"
            try:
                system.put_file(spooled.name, scratch)
                system.mv(scratch, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    system.rm_file(scratch)
                raise

    def remove(self, name: str) -> None:
        system, folder = self._open()
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{folder}/{name}")

    def names(self, beginning: str) -> list[str]:
        system, folder = self._open()
        system.invalidate_cache()
        try:
            found = system.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        names = (PurePosixPath(str(path)).name for path in found)
        return sorted(name for name in names if name.startswith(beginning))

    def address(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _open(self) -> tuple[Any, str]:
        system, folder = fsspec.url_to_fs(self.url)
        return system, str(folder).rstrip("/")


def _protocol(url: str) -> str:
    return url.partition("://")[0]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
