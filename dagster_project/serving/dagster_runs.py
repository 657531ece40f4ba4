"""What the read side asks of Dagster, over GraphQL: to start a run, and how it is."""

from typing import Any

import httpx

from cdp.settings import Settings
from dagster_project.serving.errors import RequestError, unavailable

TIMEOUT_SECONDS = 20.0
STATUS_TIMEOUT_SECONDS = 2.0
REPOSITORY = {"repositoryLocationName": "cdp", "repositoryName": "__repository__"}

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
STATUS = """
query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""


class DagsterAwayError(Exception):
    """Dagster did not answer; the message says what to look at."""


class DagsterRuns:
    """Runs of Dagster, started without waiting for them."""

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

    async def start_partition(self, job: str, partitions: str, key: str) -> str:
        """Start `job` for one key of its dynamic partitions and return the run's id at once.

        Raises DagsterAwayError when Dagster does not answer, RequestError (503) when it refuses.
        """
        variables = {"selector": REPOSITORY, "definition": partitions, "key": key}
        # A key that is there already is an answer of another type, and fine.
        await self._ask(ADD_PARTITION, variables)
        parameters = {
            "selector": REPOSITORY | {"jobName": job},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": key}]},
        }
        launched = (await self._ask(LAUNCH, {"parameters": parameters}))["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            why = launched.get("message") or launched.get("errors") or launched["__typename"]
            raise unavailable("run_refused", f"Dagster did not start {job} for {key}: {why}")
        return str(launched["run"]["runId"])

    async def status(self, run_id: str) -> str | None:
        """Dagster's word for how the run is, in lower case; None when it cannot say now."""
        try:
            answer = await self._ask(STATUS, {"run": run_id}, STATUS_TIMEOUT_SECONDS)
        except (DagsterAwayError, RequestError):
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
            raise DagsterAwayError(f"Dagster does not answer at {self._url} ({what})") from error
        if answer.get("errors"):
            raise unavailable("run_refused", f"Dagster: {answer['errors'][0].get('message')}")
        data: dict[str, Any] = answer["data"]
        return data
