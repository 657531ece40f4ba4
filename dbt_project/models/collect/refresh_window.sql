-- One row: what this run answers for. Every model reads what landed before to_xid, nothing else.
{%- set watermark = adapter.get_relation(
    this.database, generate_schema_name('decide', none), 'watermark'
) %}
{%- set earlier = as_left_by_earlier_runs('refresh_window') %}
{#- Tables of an earlier version do not number runs, and do not say by which rules one worked. #}
{%- set numbered = [] %}
{%- for table in [watermark, earlier] if table and 'run' in (
    adapter.get_columns_in_relation(table) | map(attribute='name')
) %}
{%- do numbered.append(table) %}
{%- endfor %}

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
        {{ "coalesce(run, to_xid)" if watermark in numbered else "to_xid" }} as run,
        as_of,
        rules_digest,
        identity_rules_digest
    from {{ watermark }}
    {%- else %}
    select
        system_identifier,
        to_xid,
        to_xid as run,
        as_of,
        rules_digest,
        identity_rules_digest
    from bounds
    where false
    {%- endif %}
),

-- What a run that did not end may have left behind: something computed by its rules.
unfinished as (
    {%- if watermark and earlier %}
    select
        earlier.system_identifier,
        earlier.rules_digest,
        earlier.identity_rules_digest,
        {{ "earlier.has_new_rules" if earlier in numbered else "true" }} as has_new_rules,
        {{ "earlier.has_new_identity_rules" if earlier in numbered else "true" }}
            as has_new_identity_rules
    from {{ earlier }} as earlier
    inner join published on earlier.system_identifier = published.system_identifier
    where
        {%- if earlier in numbered %}
        earlier.run <> published.run
        {%- else %}
        earlier.to_xid <> published.to_xid or earlier.as_of <> published.as_of
        {%- endif %}
    {%- else %}
    select
        system_identifier,
        rules_digest,
        identity_rules_digest,
        false as has_new_rules,
        false as has_new_identity_rules
    from bounds
    where false
    {%- endif %}
),

windows as (
    select
        bounds.to_xid,
        -- A bound that stands still, behind a transaction that is open for long, makes another run.
        greatest(bounds.to_xid, coalesce(published.run, 0) + 1) as run,
        coalesce(published.to_xid, 0) as published_xid,
        coalesce(published.run, 0) as published_run,
        {%- for rules in ['rules', 'identity_rules'] %}
        coalesce(published.{{ rules }}_digest <> bounds.{{ rules }}_digest, true)
        or coalesce(
            unfinished.has_new_{{ rules }}
            or unfinished.{{ rules }}_digest <> bounds.{{ rules }}_digest,
            false
        ) as has_new_{{ rules }},
        {%- endfor %}
        published.as_of as published_as_of,
        bounds.rules_digest,
        bounds.identity_rules_digest,
        bounds.system_identifier,
        bounds.as_of
    from bounds
    left join published on bounds.system_identifier = published.system_identifier
    left join unfinished on bounds.system_identifier = unfinished.system_identifier
)

select
    {%- if flags.FULL_REFRESH %}
    cast(0 as {{ dbt.type_bigint() }}) as from_xid,
    {%- else %}
    case when has_new_rules then 0 else published_xid end as from_xid,
    {%- endif %}
    to_xid,
    run,
    published_xid,
    published_run,
    has_new_rules,
    has_new_identity_rules,
    published_as_of,
    {{ day_of('published_as_of') }} as published_on,
    {{ day_of('as_of') }} as as_of_on,
    rules_digest,
    identity_rules_digest,
    system_identifier,
    as_of
from windows
