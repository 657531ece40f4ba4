#!/bin/sh
# Runs once, when the volume of the database is empty: the logins of the services, each with its own
# password, and a database for Dagster's state. The rights of cdp_ingest and cdp_serving come with
# the migrations.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set ingest_password="$CDP_INGEST_PASSWORD" \
    --set serving_password="$CDP_SERVING_PASSWORD" \
    --set dagster_password="$CDP_DAGSTER_PASSWORD" <<'SQL'
create role cdp_ingest login password :'ingest_password';
create role cdp_serving login password :'serving_password';
create role dagster login password :'dagster_password';
create database dagster owner dagster;
SQL
