import sys

from ingest.server import main

if __name__ == "__main__":
    sys.exit(main())
