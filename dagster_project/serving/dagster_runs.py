"""What the read side and the console ask of Dagster, over GraphQL: starting and following runs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from cdp.settings import Settings
from dagster_project.serving.errors import RequestError, unavailable

TIMEOUT_SECONDS = 20.0
STATUS_TIMEOUT_SECONDS = 2.0
REPOSITORY = {"repositoryLocationName": "cdp", "repositoryName": "__repository__"}
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

ADD_PARTITION = """
mutation ($selector: RepositorySelector!, $definition: String!, $key: String!) {
  addDynamicPartition(
    repositorySelector: $selector, partitionsDefName: $definition, partitionKey: $key
  ) { __typename ... on PythonError { message } ... on UnauthorizedError { message } }
}
"""
LAUNCH = """
mutation ($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = """
query ($run: ID!) {
  runOrError(runId: $run) {
    __typename
    ... on Run {
      runId jobName status startTime endTime
      stats { ... on RunStatsSnapshot { materializations } }
    }
    ... on Error { message }
  }
}
"""
RECENT = """
query ($most: Int!) {
  runsOrError(limit: $most) {
    __typename
    ... on Runs { results { runId jobName status startTime endTime } }
    ... on Error { message }
  }
}
"""
STATUS = """
query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""


class DagsterAwayError(RequestError):
    """Dagster did not answer; the message says what to look at."""

    def __init__(self, message: str) -> None:
        super().__init__(503, "no_dagster", message)


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
    """Runs of Dagster, started without waiting for them.

    Unless it says otherwise a method raises DagsterAwayError when Dagster does not answer, and
    RequestError (503) when it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.dagster
        self._for_people = settings.dagster_for_people
        # Not through a proxy: Dagster is a neighbour.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    def address(self, run_id: str) -> str:
        """Where people look at the run."""
        return f"{self._for_people}/runs/{run_id}"

    async def start(self, job: str, tags: dict[str, str] | None = None) -> str:
        """Start a job and return the run's id at once."""
        parameters = {
            "selector": REPOSITORY | {"jobName": job},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]
            },
        }
        launched = (await self._ask(LAUNCH, {"parameters": parameters}))["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise unavailable("run_refused", f"Dagster did not start {job}: {_why(launched)}")
        return str(launched["run"]["runId"])

    async def start_partition(self, job: str, partitions: str, key: str) -> str:
        """Start `job` for one key of its dynamic partitions and return the run's id at once."""
        variables = {"selector": REPOSITORY, "definition": partitions, "key": key}
        # A key that is there already is an answer of another type, and fine.
        await self._ask(ADD_PARTITION, variables)
        return await self.start(job, {"dagster/partition": key})

    async def follow(self, run_id: str) -> Run:
        """How a run stands now."""
        found = (await self._ask(RUN, {"run": run_id}))["runOrError"]
        if found["__typename"] != "Run":
            raise unavailable("run_refused", f"Dagster does not tell of {run_id}: {_why(found)}")
        return _run(found)

    async def recent(self, most: int) -> list[Run]:
        """The newest runs, newest first."""
        found = (await self._ask(RECENT, {"most": most}))["runsOrError"]
        if found["__typename"] != "Runs":
            raise unavailable("run_refused", f"Dagster does not list its runs: {_why(found)}")
        return [_run(each) for each in found["results"]]

    async def status(self, run_id: str) -> str | None:
        """Dagster's word for how the run is, in lower case; None when it cannot say now."""
        try:
            answer = await self._ask(STATUS, {"run": run_id}, STATUS_TIMEOUT_SECONDS)
        except RequestError:
            return None
        status = answer["runOrError"].get("status")
        return str(status).lower() if status else None

    async def _ask(
        self, query: str, variables: dict[str, Any], timeout_seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        try:
            response = await self._client.post(
                f"{self._url}/graphql",
                json={"query": query, "variables": variables},
                timeout=timeout_seconds,
            )
            # Dagster says in the body what went wrong, also where the status is 500.
            if "json" not in response.headers.get("content-type", ""):
                response.raise_for_status()
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            what = str(error) or type(error).__name__
            raise DagsterAwayError(
                f"Dagster does not answer at {self._url} ({what}); `make up` starts it."
            ) from error
        if answer.get("errors"):
            raise unavailable("run_refused", f"Dagster: {answer['errors'][0].get('message')}")
        data: dict[str, Any] = answer["data"]
        return data


def _why(answer: dict[str, Any]) -> str:
    """The first line of what Dagster says of itself."""
    said = answer.get("message") or answer.get("errors") or answer["__typename"]
    return str(said).partition("\n")[0]


def _run(found: dict[str, Any]) -> Run:
    return Run(
        run_id=found["runId"],
        job=found["jobName"],
        status=found["status"],
        started=found["startTime"],
        ended=found["endTime"],
        written=(found.get("stats") or {}).get("materializations") or 0,
    )
