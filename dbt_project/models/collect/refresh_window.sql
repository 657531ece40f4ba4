-- One row: what this run answers for. Every model reads what landed before to_xid, nothing else.
{%- set watermark = adapter.get_relation(
    this.database, generate_schema_name('decide', none), 'watermark'
) %}

with bounds as (
    select
        {{ landing_horizon() }} as to_xid,
        {{ landing_system() }} as system_identifier,
        {{ as_of() }} as as_of,
        {{ rules_digest() }} as rules_digest,
        {{ identity_rules_digest() }} as identity_rules_digest
),

-- What the last complete run left; nothing, when that was in another cluster.
published as (
    {%- if watermark %}
    select
        system_identifier,
        to_xid,
        as_of,
        rules_digest,
        identity_rules_digest
    from {{ watermark }}
    {%- else %}
    select
        system_identifier,
        to_xid,
        as_of,
        rules_digest,
        identity_rules_digest
    from bounds
    where false
    {%- endif %}
)

select
    {%- if flags.FULL_REFRESH %}
    cast(0 as {{ dbt.type_bigint() }}) as from_xid,
    {%- else %}
    coalesce(
        case when published.rules_digest = bounds.rules_digest then published.to_xid end, 0
    ) as from_xid,
    {%- endif %}
    bounds.to_xid,
    coalesce(published.to_xid, 0) as published_xid,
    coalesce(published.identity_rules_digest <> bounds.identity_rules_digest, true)
        as has_new_identity_rules,
    published.as_of as published_as_of,
    {{ day_of('published.as_of') }} as published_on,
    {{ day_of('bounds.as_of') }} as as_of_on,
    bounds.rules_digest,
    bounds.identity_rules_digest,
    bounds.system_identifier,
    bounds.as_of
from bounds
left join published on bounds.system_identifier = published.system_identifier
