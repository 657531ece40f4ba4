"""`python -m cdp.migrations`: bring the schema and the roles to the newest version, and end."""

from cdp.database import start_database
from cdp.settings import load_settings

if __name__ == "__main__":
    start_database(load_settings())
