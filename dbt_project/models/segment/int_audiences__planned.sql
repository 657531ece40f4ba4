-- One row per audience that this run decides about: for everybody (is_whole), or for the profiles
-- that something happened to. An audience with a mistake is not here and keeps its members.
{%- set window = run_window() %}
{#- Nothing stands when everything is derived again, or when the clock was put back. #}
{%- set nothing_stands = window.from_xid == 0 or not window.published_as_of
    or window.as_of < window.published_as_of %}
with decided as (
    select
        audience_id,
        definition_version,
        rule_digest,
        true as is_enabled
    from {{ ref('int_audiences__compiled') }}
    where errors = '[]'
    union all
    select
        audience_id,
        definition_version,
        cast(null as {{ dbt.type_string() }}) as rule_digest,
        false as is_enabled
    from {{ ref('int_audiences__versioned') }}
    where not is_enabled
),

requests as (
    select
        {{ audience_id('audience_key') }} as audience_id,
        max(requested_at) as requested_at
    from {{ source('raw', 'audience_rebuilds') }}
    group by audience_key
),

compared as (
    select
        decided.audience_id,
        decided.definition_version,
        decided.rule_digest,
        decided.is_enabled,
        (
            last_built.rule_digest is distinct from decided.rule_digest
            or last_built.definition_version is distinct from decided.definition_version
            or last_built.is_enabled is distinct from decided.is_enabled
        ) as is_redefined,
        -- Missed by a complete run, what moved then is not listed any more; or asked for.
        (
            last_built.built_at is null
            {%- if window.published_as_of %}
            or last_built.built_at < {{ timestamp_literal(window.published_as_of.isoformat()) }}
            {%- endif %}
            or coalesce(requests.requested_at > last_built.built_at, false)
        ) as is_behind
    from decided
    left join {{ ref('int_audiences__last_built') }} as last_built
        on decided.audience_id = last_built.audience_id
    left join requests on decided.audience_id = requests.audience_id
)

select
    audience_id,
    definition_version,
    rule_digest,
    is_enabled,
    is_redefined,
    {{ 'true' if nothing_stands else 'is_redefined or is_behind' }} as is_whole
from compared
-- depends_on: {{ ref('refresh_window') }}
