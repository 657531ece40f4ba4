"""Settings: documented, validated, and read in one place only."""

import ast
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import EventMsg

from cdp.engine import dbt_variables
from cdp.settings import PROJECT_DIR, Settings, SettingsError, environment_set, load_settings
from tests.warehouse import parsed_manifest

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


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("DATABASE_URL", "mysql://user:secret@host/name", "give postgresql://"),
        ("CDP_INGEST_DATABASE_URL", "mysql://user:secret@host/name", "give postgresql://"),
        ("CDP_HOST", "300.1.1.1", "give an address"),
        ("CDP_REFRESH_CRON", "foo", "give five cron fields"),
        ("CDP_RAW_RETENTION_BY_SOURCE", "web=0", "give sources and days"),
        ("CDP_RAW_RETENTION_BY_SOURCE", "web", "give sources and days"),
        ("CDP_HOME", "~nobody-of-this-name/cdp", "give a path that begins with"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_advice_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, advice: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert advice in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_folder_is_the_same_wherever_a_process_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """dbt works in the folder of its project, and would make another one there."""
    monkeypatch.setenv("CDP_HOME", ".cdp")
    monkeypatch.setenv("CDP_EXPORT_DIR", "~/exports")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == PROJECT_DIR / ".cdp"
    assert settings.exports == tmp_path.resolve() / "exports"
    assert settings.google_application_credentials == PROJECT_DIR / "key.json"
    # An empty setting is none: the project's own folder is nothing to fill, search or reset.
    for name in ("CDP_HOME", "CDP_EXPORT_DIR", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.home == PROJECT_DIR / ".cdp"
    assert settings.exports == PROJECT_DIR / ".cdp" / "exports"
    assert settings.google_application_credentials is None


def test_terms_by_source_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_RAW_RETENTION_BY_SOURCE", "web=30, shop-app=365")
    assert load_settings().source_retention_days == {"web": 30, "shop-app": 365}


@pytest.mark.parametrize("cron", ["*/15 * * * *", "0 3 * * MON-FRI", "5,35 0-6 1 * *", "@daily"])
def test_usual_cron_expressions_are_taken(cron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_REFRESH_CRON", cron)
    assert load_settings().refresh_cron == cron


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


def test_dbt_builds_as_many_models_at_a_time_as_is_set(database: str) -> None:
    told = []

    def listen(event: EventMsg) -> None:
        if event.info.name == "ConcurrencyLine":
            told.append(event.data.num_threads)

    with environment_set(dbt_variables(Settings(database_url=database, dbt_threads=3))):
        build_small = ["--quiet", "--no-write-json", "seed", "--select", "identifier_types"]
        project = str(PROJECT_DIR / "dbt_project")
        manifest = parsed_manifest().deepcopy()  # type: ignore[no-untyped-call]
        dbtRunner(manifest=manifest, callbacks=[listen]).invoke(
            [*build_small, "--project-dir", project, "--profiles-dir", project]
        )
    assert told == [3]
