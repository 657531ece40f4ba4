-- One row per audience ever defined, with the version of its definition.
-- Kept for ever, full refreshes included: versions and created_at cannot be derived again.
{{ config(
    materialized='incremental',
    unique_key='audience_id',
    full_refresh=false,
    on_schema_change='fail',
) }}
with defined as (select * from {{ ref('stg_audience_definitions') }}),

known as (
    {%- if is_incremental() %}
    select * from {{ this }}
    {%- else %}
    select
        *,
        1 as definition_version,
        {{ as_of() }} as created_at
    from defined
    where false
    {%- endif %}
)

select
    coalesce(defined.audience_id, known.audience_id) as audience_id,
    coalesce(defined.audience_key, known.audience_key) as audience_key,
    case when defined.audience_id is null then known.name else defined.name end as name,
    case
        when defined.audience_id is null then known.description else defined.description
    end as description,
    case
        when defined.audience_id is null then known.definition else defined.definition
    end as definition,
    case when defined.audience_id is null then known.owner else defined.owner end as owner,
    -- What nobody defines any more is kept and disabled, so that its members leave with an exit.
    coalesce(defined.is_enabled, false) as is_enabled,
    coalesce(defined.source, known.source) as source,
    case
        when known.audience_id is null then 1
        when defined.audience_id is null then known.definition_version
        when coalesce(defined.definition, '') <> coalesce(known.definition, '')
            then known.definition_version + 1
        else known.definition_version
    end as definition_version,
    coalesce(known.created_at, {{ as_of() }}) as created_at
from defined
full outer join known on defined.audience_id = known.audience_id
