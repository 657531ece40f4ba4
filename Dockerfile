# One image for every service; docker-compose.yml says what each of them runs.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /opt/cdp && /opt/cdp/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home cdp \
    && install --directory --owner=cdp --group=cdp --mode=0750 /var/lib/cdp /var/lib/cdp/exports
COPY --from=build /opt/cdp /opt/cdp
WORKDIR /app
COPY cdp cdp
COPY ingest ingest
COPY dbt_project dbt_project
COPY dagster_project dagster_project
COPY seeds seeds
COPY deploy deploy
COPY pyproject.toml ./
ENV PATH=/opt/cdp/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CDP_HOME=/var/lib/cdp \
    CDP_EXPORT_DIR=/var/lib/cdp/exports \
    DAGSTER_HOME=/app/deploy/dagster
# Compiled and parsed here, so that no service has to write into the image.
RUN python -m compileall -q cdp ingest dagster_project && python -m dagster_project.dbt_manifest
USER cdp
VOLUME /var/lib/cdp
CMD ["python", "-m", "cdp", "--help"]
