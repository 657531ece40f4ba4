"""Settings: documented, validated, and read in one place only."""

import ast
from pathlib import Path

import pytest

from cdp.settings import PROJECT_DIR, Settings, SettingsError, load_settings

PACKAGES = ("cdp", "ingest", "dagster_project")


def test_a_wrong_value_is_named_as_the_user_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_PORT", "many")
    with pytest.raises(SettingsError, match="CDP_PORT is 'many'"):
        load_settings()


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_PORT", "0")
    monkeypatch.setenv("CDP_MAX_BATCH_EVENTS", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "CDP_PORT" in str(caught.value)
    assert "CDP_MAX_BATCH_EVENTS" in str(caught.value)


def test_env_example_and_the_settings_class_agree() -> None:
    documented = {}
    for line in (PROJECT_DIR / ".env.example").read_text().splitlines():
        name, equals, value = line.removeprefix("# ").partition("=")
        if equals and name.isupper():
            documented[name] = value
    known = {
        str(field.validation_alias or f"CDP_{name.upper()}"): field
        for name, field in Settings.model_fields.items()
    }
    assert documented.keys() == known.keys()
    for name, field in known.items():
        default = "" if field.default is None else str(field.default)
        shown = documented[name]
        assert shown == default or name == "CDP_HOME", f"{name}: {shown!r} is not {default!r}"


def test_every_setting_says_what_it_is_for() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []


def test_only_the_settings_module_reads_the_environment() -> None:
    """`os.environ` may be handed on to a child process as a whole, never read from."""
    readers = []
    for package in PACKAGES:
        for path in sorted((PROJECT_DIR / package).rglob("*.py")):
            if path != PROJECT_DIR / "cdp" / "settings.py" and _reads_environment(path):
                readers.append(str(path.relative_to(PROJECT_DIR)))
    assert readers == []


def _reads_environment(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(attr="getenv"):
                return True
            case ast.Subscript(value=ast.Attribute(attr="environ"), ctx=ast.Load()):
                return True
            case ast.Attribute(attr="get", value=ast.Attribute(attr="environ")):
                return True
    return False
