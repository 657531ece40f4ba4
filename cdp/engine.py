"""Where dbt computes: the variables that `dbt_project/profiles.yml` reads for the chosen engine."""

import os

from cdp.database import database_url, dbt_environment
from cdp.settings import Settings


def dbt_variables(settings: Settings) -> dict[str, str]:
    """For `CDP_ENGINE` as it is set. PostgreSQL's are always among them."""
    variables = postgres_variables(settings)
    if settings.engine == "bigquery":
        # Google's libraries take a second to import; only this engine needs them.
        from cdp.bigquery.connection import dbt_variables as of_bigquery  # noqa: PLC0415

        variables |= of_bigquery(settings)
    return variables


def postgres_variables(settings: Settings) -> dict[str, str]:
    """For PostgreSQL, whatever the engine."""
    # One processor is left to what answers meanwhile. Measured on two: a refresh beside decisions
    # takes as long with one model at a time as with two, and decisions wait less for it.
    threads = settings.dbt_threads or max(1, min((os.cpu_count() or 1) - 1, 4))
    return dbt_environment(database_url(settings)) | {"CDP_DBT_THREADS": str(threads)}
