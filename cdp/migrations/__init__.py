"""Versions of the raw schema and the roles (Alembic, plain SQL)."""
