-- One row per run and audience that it evaluated: how large it is, and what changed.
-- Kept for ever, full refreshes included: it is the record of what each run found.
{{ config(
    materialized='incremental',
    unique_key=['audience_id', 'built_at'],
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}
with evaluated as (
    select
        audience_id,
        definition_version,
        rule_digest,
        is_enabled
    from {{ ref('int_audiences__planned') }}
),

sizes as (
    select
        audience_id,
        count(*) as member_count
    from {{ ref('audience_members') }}
    group by audience_id
),

changes as (
    select
        audience_id,
        sum(case when change = 'entered' then 1 else 0 end) as entered_count,
        sum(case when change = 'exited' then 1 else 0 end) as exited_count
    from {{ ref('audience_changes') }}
    where changed_at = {{ as_of() }}
    group by audience_id
)

select
    evaluated.audience_id,
    {{ as_of() }} as built_at,
    evaluated.definition_version,
    evaluated.rule_digest,
    evaluated.is_enabled,
    coalesce(sizes.member_count, 0) as member_count,
    coalesce(changes.entered_count, 0) as entered_count,
    coalesce(changes.exited_count, 0) as exited_count
from evaluated
left join sizes on evaluated.audience_id = sizes.audience_id
left join changes on evaluated.audience_id = changes.audience_id
