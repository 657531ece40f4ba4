"""`python -m dagster_project.serving`: the read side alone."""

import uvicorn

from cdp.settings import load_settings
from dagster_project.serving.app import create_app


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
