"""Starting runs in Dagster and following them, through the GraphQL address of its web server."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from dagster_project.console.api import ApiError

TIMEOUT_SECONDS = 20.0
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

WHERE = (
    "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
)
LAUNCH = """
mutation launch($job: JobOrPipelineSelector!) {
    launchRun(executionParams: {selector: $job, mode: "default", runConfigData: {}}) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on Error { message }
    }
}
"""
RUN = """
query follow($run: ID!) {
    runOrError(runId: $run) {
        __typename
        ... on Run {
            runId jobName status startTime endTime
            stats { ... on RunStatsSnapshot { materializations expectations stepsFailed } }
        }
        ... on Error { message }
    }
}
"""
RECENT = """
query recent($most: Int!) {
    runsOrError(limit: $most) {
        __typename
        ... on Runs { results { runId jobName status startTime endTime } }
        ... on Error { message }
    }
}
"""


@dataclass(frozen=True)
class Run:
    """A run of a job. Times are seconds since 1970; `written` counts tables and files so far."""

    run_id: str
    job: str
    status: str
    started: float | None
    ended: float | None
    written: int = 0

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def started_at(self) -> datetime | None:
        return datetime.fromtimestamp(self.started, UTC) if self.started else None

    @property
    def short_id(self) -> str:
        return self.run_id[:8]


class DagsterRuns:
    """Runs of the jobs in `dagster_project/defs`. Every method raises ApiError (503) alone."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS)
        self._url = url

    async def close(self) -> None:
        await self._client.aclose()

    async def start(self, job: str) -> str:
        """Ask for a run of a job and return its id at once."""
        where = await self._ask(WHERE)
        nodes = where["repositoriesOrError"].get("nodes") or []
        if not nodes:
            raise ApiError(503, "not_loaded", "Dagster has not loaded the jobs yet; try again.")
        selector = {
            "repositoryLocationName": nodes[0]["location"]["name"],
            "repositoryName": nodes[0]["name"],
            "jobName": job,
        }
        launched = (await self._ask(LAUNCH, job=selector))["launchRun"]
        return str(_checked(launched, "LaunchRunSuccess")["run"]["runId"])

    async def follow(self, run_id: str) -> Run:
        """How a run stands now."""
        found = (await self._ask(RUN, run=run_id))["runOrError"]
        return _run(_checked(found, "Run"))

    async def recent(self, most: int) -> list[Run]:
        """The newest runs, newest first."""
        found = (await self._ask(RECENT, most=most))["runsOrError"]
        return [_run(each) for each in _checked(found, "Runs")["results"]]

    async def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        try:
            body = {"query": query, "variables": variables}
            answer = (await self._client.post("/graphql", json=body)).json()
            data = answer["data"]
        except httpx.HTTPError:
            message = f"Dagster does not answer at {self._url}; `make up` starts it."
            raise ApiError(503, "no_dagster", message) from None
        except (ValueError, KeyError, TypeError):
            message = f"What answers at {self._url} is not Dagster; check CDP_DAGSTER_PORT."
            raise ApiError(503, "no_dagster", message) from None
        if not data:
            raise ApiError(503, "dagster_failed", f"Dagster failed: {answer.get('errors')}")
        return dict(data)


def _checked(found: dict[str, Any], wanted: str) -> dict[str, Any]:
    if found["__typename"] != wanted:
        message = str(found.get("message") or found["__typename"]).partition("\n")[0]
        raise ApiError(503, "dagster_refused", f"Dagster refused: {message}")
    return found


def _run(found: dict[str, Any]) -> Run:
    return Run(
        run_id=found["runId"],
        job=found["jobName"],
        status=found["status"],
        started=found["startTime"],
        ended=found["endTime"],
        written=(found.get("stats") or {}).get("materializations") or 0,
    )
