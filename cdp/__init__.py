"""What the programs share: settings, the database, migrations and the command `cdp`."""
