"""`cdp psql` and `cdp dbt`: the project's own tools on the project's own database."""

import os
import sys

import typer

from cdp.cli.terminal import ready_settings
from cdp.engine import dbt_variables
from cdp.postgres import find_program
from cdp.settings import PROJECT_DIR

PASS_THROUGH = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def psql(context: typer.Context) -> None:
    """Open psql on the database; every argument goes to psql: cdp psql -c 'select ...'."""
    _settings, url = ready_settings()
    program = find_program("psql")
    os.execv(program, [str(program), url, *context.args])  # noqa: S606 - replaces this process, no shell


def dbt(context: typer.Context) -> None:
    """Run dbt on the engine; every argument goes to dbt: cdp dbt build --select profiles."""
    settings, _url = ready_settings()
    os.chdir(PROJECT_DIR / "dbt_project")
    environment = os.environ | dbt_variables(settings)
    arguments = [sys.executable, "-m", "dbt.cli.main", *context.args]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - replaces this process, no shell
