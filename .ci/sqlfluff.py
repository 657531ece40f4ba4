"""Run sqlfluff on the dbt models, with a throw-away PostgreSQL for those that ask it something.

Arguments go to sqlfluff: `python .ci/sqlfluff.py lint models`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cdp.database import dbt_environment, migrate
from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cdp-lint-") as folder:
        server = EmbeddedPostgres(Path(folder) / "home", settings=(("fsync", "off"),))
        server.start()
        try:
            migrate(server.url())
            return subprocess.run(
                [str(Path(sys.executable).parent / "sqlfluff"), *sys.argv[1:]],
                cwd=PROJECT_DIR / "dbt_project",
                env=os.environ | dbt_environment(server.url()),
                check=False,
            ).returncode
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
