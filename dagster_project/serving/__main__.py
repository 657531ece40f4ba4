"""`python -m dagster_project.serving`: the read side alone."""

import sys

import uvicorn

from cdp.access_tokens import ACCESS_TOKENS
from cdp.pauses import keep_imported
from cdp.settings import SettingsError, load_settings
from dagster_project.serving.app import create_app


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    try:
        settings = load_settings()
        ACCESS_TOKENS.require_one(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    app = create_app(settings)
    keep_imported()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
