-- One row per audience: the build before this run.
-- Not a ref: that table is written after this one is read.
{{ config(materialized='ephemeral') }}
{%- set builds = load_relation(this.incorporate(path={'identifier': 'audience_builds'})) %}
{%- if builds %}
with latest as (
    select
        audiences.audience_id,
        (
            select max(builds.built_at)
            from {{ builds }} as builds
            where builds.audience_id = audiences.audience_id
        ) as built_at
    from {{ ref('int_audiences__versioned') }} as audiences
)

select
    builds.audience_id,
    builds.definition_version,
    builds.is_enabled,
    builds.rule_digest,
    builds.built_at
from latest
inner join {{ builds }} as builds
    on latest.audience_id = builds.audience_id and latest.built_at = builds.built_at
{%- else %}
select
    audience_id,
    definition_version,
    is_enabled,
    cast(null as {{ dbt.type_string() }}) as rule_digest,
    {{ as_of() }} as built_at
from {{ ref('int_audiences__versioned') }}
where false
{%- endif %}
