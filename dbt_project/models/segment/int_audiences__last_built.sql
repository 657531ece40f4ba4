-- One row per audience: the build before this run.
-- Not a ref: that table is written after this one is read.
{{ config(materialized='ephemeral') }}
{%- set builds = load_relation(this.incorporate(path={'identifier': 'audience_builds'})) %}
{%- if builds %}
select
    audience_id,
    definition_version,
    is_enabled
from (
    select
        *,
        row_number() over (partition by audience_id order by built_at desc) as recency
    from {{ builds }}
) as numbered
where recency = 1
{%- else %}
select
    audience_id,
    definition_version,
    is_enabled
from {{ ref('int_audiences__versioned') }}
where false
{%- endif %}
