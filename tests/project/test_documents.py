"""The documents are true: every command, path, setting and make target they name exists."""

import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from cdp.cli import app
from cdp.settings import PROJECT_DIR, Settings

DOCUMENTS = sorted(
    [
        *PROJECT_DIR.glob("*.md"),
        *(PROJECT_DIR / "docs").rglob("*.md"),
        *PROJECT_DIR.glob("*/README.md"),
    ]
)
# Written by the programs, so absent from a fresh clone.
MADE_AT_RUN_TIME = (".cdp", ".venv", "dbt_project/target")


def _names(path: Path) -> str:
    return str(path.relative_to(PROJECT_DIR))


def _commands() -> dict[str, object]:
    command = get_command(app)
    return dict(getattr(command, "commands", {}))


def _code(text: str) -> list[str]:
    """Every piece of code: the lines of fenced blocks and the spans in back ticks."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_every_documented_cdp_command_exists(document: Path) -> None:
    known = _commands()
    unknown = []
    for piece in _code(document.read_text()):
        found = re.match(r"(?:\.venv/bin/)?cdp ([a-z-]+)(?: ([a-z-]+))?", piece)
        if not found:
            continue
        group = known.get(found[1])
        subcommands = getattr(group, "commands", None)
        if group is None or (subcommands and found[2] and found[2] not in subcommands):
            unknown.append(piece)
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_every_documented_option_of_a_cdp_command_exists(document: Path) -> None:
    known = _commands()
    unknown = []
    for piece in _code(document.read_text()):
        found = re.match(r"(?:\.venv/bin/)?cdp ([a-z-]+)(?: ([a-z-]+))?", piece)
        if not found or found[1] in {"psql", "dbt"} or found[1] not in known:
            continue
        command = known[found[1]]
        command = getattr(command, "commands", {}).get(found[2], command)
        options = {name for each in getattr(command, "params", []) for name in each.opts}
        options |= {"--help", "-h"}
        unknown += [
            f"{piece}: {name}" for name in re.findall(r"--[a-z-]+", piece) if name not in options
        ]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_every_documented_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    named = {
        found[1]
        for piece in _code(document.read_text())
        if (found := re.match(r"make ([a-z]+)", piece))
    }
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_every_documented_setting_exists(document: Path) -> None:
    known = {f"CDP_{name.upper()}" for name in Settings.model_fields}
    # The variables of the dbt profile are made from DATABASE_URL, see cdp.database.dbt_environment.
    named = {
        name
        for name in re.findall(r"\bCDP_[A-Z_]+[A-Z]\b", document.read_text())
        if not name.startswith("CDP_PG_")
    }
    assert named - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_every_documented_path_exists(document: Path) -> None:
    text = document.read_text()
    roots = {path.name for path in PROJECT_DIR.iterdir()}
    named = {
        piece.rstrip("/")
        for piece in re.findall(r"`([\w./-]+)`", text)
        if "/" in piece and piece.split("/")[0] in roots and not piece.startswith(MADE_AT_RUN_TIME)
    }
    links = {
        str((document.parent / target).resolve().relative_to(PROJECT_DIR))
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text)
    }
    missing = sorted(name for name in named | links if not (PROJECT_DIR / name).exists())
    assert missing == []


def test_every_command_is_documented_and_says_what_it_does() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    undocumented = [name for name in _commands() if f"cdp {name}" not in text]
    assert undocumented == []
    silent = [name for name, command in _commands().items() if not getattr(command, "help", "")]
    assert silent == []


def test_every_decision_record_says_what_would_prove_it_wrong() -> None:
    records = sorted((PROJECT_DIR / "docs" / "decisions").glob("*.md"))
    assert records
    for number, record in enumerate(records, start=1):
        text = record.read_text()
        assert record.name.startswith(f"{number:04d}-"), record.name
        for part in (
            "**Context.**",
            "**Decision.**",
            "**Consequence.**",
            "**What would prove it wrong.**",
        ):
            assert part in text, f"{record.name} lacks {part}"


def test_the_repository_names_no_registry_and_no_path_of_one_machine() -> None:
    forbidden = re.compile(
        r"(?:^|[\s\"'=(])/(?:root|home|work)/|pypi\.org|pythonhosted|registry\.npmjs|--index-url"
    )
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    tracked = [PROJECT_DIR / name for name in listed.stdout.split("\0") if name]
    found = [
        f"{path.relative_to(PROJECT_DIR)}: {line.strip()[:80]}"
        for path in tracked
        if path.suffix not in {".gz", ".png"} and path.is_file() and path != Path(__file__)
        for line in path.read_text().splitlines()
        if forbidden.search(line)
    ]
    assert found == []
