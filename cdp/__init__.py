"""What the programs of the platform share: settings, the database, migrations and the command `cdp`."""
