"""CSV files elsewhere than in a folder, delta files, and how long they are kept."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.csv_storage import RemoteFolder, open_storage
from dagster_project.destinations.destination import DeliveryError
from tests.activate.conftest import Person, Tables


@pytest.fixture
def url() -> Iterator[str]:
    yield f"memory://bucket-{uuid.uuid4().hex}/exports"
    fsspec.filesystem("memory").store.clear()


def names(url: str) -> list[str]:
    return RemoteFolder(url).names("")


def test_a_file_goes_to_an_object_store_with_its_manifest(tables: Tables, url: str) -> None:
    tables.put("vip", [Person("ada@example.com")])
    delivered = tables.deliver(CsvFiles(open_storage(url)))
    assert delivered.facts["path"] == f"{url}/vip.csv"
    assert names(url) == ["vip.csv", "vip.manifest.json"]
    system, folder = fsspec.url_to_fs(url)
    manifest = json.loads(system.cat_file(f"{folder}/vip.manifest.json"))
    assert manifest["bytes"] == system.size(f"{folder}/vip.csv")


def test_a_store_that_fails_in_the_middle_keeps_what_it_had(
    tables: Tables, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.put("vip", [Person("ada@example.com")])
    destination = CsvFiles(open_storage(url))
    tables.deliver(destination)
    system, folder = fsspec.url_to_fs(url)
    before = system.cat_file(f"{folder}/vip.csv")

    def break_off(*_arguments: Any, **_named: Any) -> None:
        raise OSError("The connection was reset.")

    tables.put("vip", [Person("ada@example.com"), Person("bob@example.com")])
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "put_file", break_off)
        with pytest.raises(OSError, match="reset"):
            tables.deliver(destination)
    assert system.cat_file(f"{folder}/vip.csv") == before
    assert tables.deliveries()[-1][0] == "failed"
    tables.deliver(destination)
    assert system.cat_file(f"{folder}/vip.csv") != before


class PlainServer(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A file system where a file is visible while it is being written, like SFTP."""

    protocol = "plain"
    store: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it
    pseudo_dirs = [""]  # noqa: RUF012
    fails = False
    seen: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        PlainServer.seen.append(rpath)
        super().put_file(lpath, rpath, **options)
        if PlainServer.fails:
            raise OSError("The connection was reset.")


def test_elsewhere_a_file_is_put_under_another_name_and_moved(tables: Tables) -> None:
    fsspec.register_implementation("plain", PlainServer, clobber=True)
    tables.put("vip", [Person("ada@example.com")])
    url = "plain:///exports"
    destination = CsvFiles(open_storage(url))
    tables.deliver(destination)
    assert names(url) == ["vip.csv", "vip.manifest.json"]
    assert all(path.endswith(".partial") for path in PlainServer.seen)
    PlainServer.fails = True
    with pytest.raises(OSError, match="reset"):
        tables.deliver(destination)
    assert names(url) == ["vip.csv", "vip.manifest.json"]


def test_a_file_system_that_is_not_installed_is_named() -> None:
    with pytest.raises(DeliveryError, match=r"nosuch://x cannot be opened.*seeds/destinations.csv"):
        open_storage("nosuch://x")


def test_a_delta_is_a_file_of_its_own_that_says_what_changed(
    tables: Tables, tmp_path: Path
) -> None:
    destination = CsvFiles(tmp_path)
    ada, bob, eve = (Person(f"{name}@example.com", "=1") for name in ("ada", "bob", "eve"))
    tables.put_numbered("vip", {1: ada, 2: bob})
    tables.deliver(destination, mode="delta", columns=("email", "total_spend", "user_id"))
    tables.put_numbered("vip", {1: ada, 3: eve})
    tables.deliver(destination, mode="delta", columns=("email", "total_spend", "user_id"))
    [delta] = tmp_path.glob("vip.delta.*.csv")
    assert delta.read_text() == (
        "change,profile_id,email,total_spend,user_id\n"
        "exited,00000000-0000-0000-0000-0000000f4242,bob@example.com,10.50,'=1\n"
        "entered,00000000-0000-0000-0000-0000000f4243,eve@example.com,10.50,'=1\n"
    )
    manifest = json.loads(delta.with_suffix(".manifest.json").read_text())
    assert (manifest["mode"], manifest["rows"]) == ("delta", 2)
    assert manifest["columns"] == ["change", "profile_id", "email", "total_spend", "user_id"]


def test_old_delta_files_are_removed_and_a_whole_file_replaces_them_all(
    tables: Tables, tmp_path: Path
) -> None:
    destination = CsvFiles(tmp_path, keep_days=30)
    for number in range(3):
        tables.put_numbered("vip", {0: Person("ada@example.com"), number: Person("b@example.com")})
        tables.deliver(destination, mode="delta", columns=("email",))
    old = sorted(tmp_path.glob("vip.delta.*"))
    assert len(old) == 4
    for path in old[:2]:
        time = path.name.split(".")[2]
        path.rename(path.with_name(path.name.replace(time, "20200101T000000000000Z")))
    (tmp_path / "vip_gold.delta.20200101T000000000000Z.csv").write_text("of another audience")
    tables.put_numbered("vip", {0: Person("ada@example.com")})
    tables.deliver(destination, mode="delta", columns=("email",))
    kept = {path.name.split(".")[2] for path in tmp_path.glob("vip.delta.*")}
    assert len(kept) == 2
    assert "20200101T000000000000Z" not in kept
    tables.deliver(destination, mode="delta", columns=("email", "profile_id"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "vip.csv",
        "vip.manifest.json",
        "vip_gold.delta.20200101T000000000000Z.csv",
    ]
