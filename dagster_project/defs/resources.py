"""What the assets are given."""

import dagster as dg

from cdp.settings import Settings, load_settings
from dagster_project.progress import OnStep, unobserved


@dg.resource
def settings(_context: dg.InitResourceContext) -> Settings:
    return load_settings()


@dg.resource
def on_step(_context: dg.InitResourceContext) -> OnStep:
    return unobserved


@dg.definitions
def resources() -> dg.Definitions:
    return dg.Definitions(
        resources={"settings": settings, "on_step": on_step},
        # One process per run: the refresh is one dbt invocation, and a process more per step
        # would cost seconds.
        executor=dg.in_process_executor,
    )
