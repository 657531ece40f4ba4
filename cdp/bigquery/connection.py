"""A client for BigQuery, and its errors in words that say what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.cloud import bigquery
from google.oauth2 import service_account

from cdp.errors import UserError
from cdp.settings import Settings

# For the first question of a command: the library would try for ten minutes without a word.
FIRST_ANSWER = bigquery.DEFAULT_RETRY.with_timeout(60)

_NETWORK = (
    "Nobody answered. Check the network, a proxy, and BIGQUERY_API_ENDPOINT if it is set; then run "
    "it again."
)
# What each kind of refusal usually means. Google's own message stands before it.
ADVICE: Mapping[type[Exception], str] = {
    exceptions.Unauthorized: "Check GOOGLE_APPLICATION_CREDENTIALS.",
    exceptions.Forbidden: (
        "Either a role is missing (docs/bigquery.md lists the least ones) or a quota is used up; "
        "the message says which. After a quota error the next refresh goes on where this one ended."
    ),
    exceptions.NotFound: (
        "Check BIGQUERY_PROJECT_ID, BIGQUERY_DATASET and BIGQUERY_LOCATION; `cdp bigquery setup` "
        "creates the data sets."
    ),
    exceptions.ServerError: "Usually this passes; run `cdp refresh` again.",
    exceptions.GoogleAPICallError: "Run it again once the cause is mended.",
    exceptions.RetryError: _NETWORK,
    TransportError: _NETWORK,
    RefreshError: (
        "Google refuses the key: make a new one for the service account, and check this machine's "
        "clock."
    ),
    GoogleAuthError: (
        "Set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`."
    ),
    OSError: _NETWORK,  # every error of the library `requests`
}
_TABLE_NOT_FOUND = "`cdp refresh --full` builds it anew."


class BigQueryError(UserError):
    """BigQuery refused something. The message says what, why, and what to do."""


def connect(settings: Settings) -> bigquery.Client:
    """A client for the project of the settings. Raises BigQueryError when it cannot log in."""
    if not settings.bigquery_project_id:
        raise BigQueryError(
            "BIGQUERY_PROJECT_ID is not set; give the Google Cloud project that computes."
        )
    if settings.bigquery_api_endpoint:
        return bigquery.Client(
            project=settings.bigquery_project_id,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": settings.bigquery_api_endpoint},
        )
    with explained("log in to Google Cloud"):
        return bigquery.Client(
            project=settings.bigquery_project_id,
            credentials=_key_file(settings),
            location=settings.bigquery_location,
            default_query_job_config=bigquery.QueryJobConfig(
                maximum_bytes_billed=settings.bigquery_maximum_bytes_billed,
                labels={"application": "cdp"},
            ),
        )


def _key_file(settings: Settings) -> service_account.Credentials | None:
    path = settings.google_application_credentials
    if path is None:
        return None
    try:
        return service_account.Credentials.from_service_account_file(str(path))  # type: ignore[no-any-return, no-untyped-call]
    except (OSError, ValueError) as error:
        raise BigQueryError(
            f"GOOGLE_APPLICATION_CREDENTIALS is {path}: {error}. "
            "Give the JSON key file of a service account."
        ) from None


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of Google's libraries into a BigQueryError that begins with what failed."""
    try:
        yield
    except tuple(ADVICE) as error:
        advice = next(said for kind, said in ADVICE.items() if isinstance(error, kind))
        if isinstance(error, exceptions.NotFound) and "Not found: Table" in str(error):
            advice = _TABLE_NOT_FOUND
        reason = str(getattr(error, "message", None) or error).strip()
        raise BigQueryError(f"Could not {what}: {reason}\n{advice}") from error


def dbt_variables(settings: Settings) -> dict[str, str]:
    """The variables that `dbt_project/profiles.yml` reads to build on BigQuery."""
    variables = {
        "CDP_ENGINE": "bigquery",
        "CDP_DBT_THREADS": str(settings.dbt_threads or 4),
        "BIGQUERY_PROJECT_ID": settings.bigquery_project_id or "",
        "BIGQUERY_DATASET": settings.bigquery_dataset,
        "BIGQUERY_LOCATION": settings.bigquery_location,
        "BIGQUERY_MAXIMUM_BYTES_BILLED": str(settings.bigquery_maximum_bytes_billed),
    }
    if settings.bigquery_api_endpoint:
        variables["BIGQUERY_API_ENDPOINT"] = settings.bigquery_api_endpoint
    if settings.google_application_credentials:
        variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(settings.google_application_credentials)
    return variables
