-- One row: what this run answers for. Every model reads what landed before to_xid, nothing else.
-- from_xid is where the last complete run ended; 0 when there was none in this cluster.
{%- set watermark = adapter.get_relation(
    this.database, generate_schema_name('decide', none), 'watermark'
) %}

with bounds as (
    select
        {{ landing_horizon() }} as to_xid,
        {{ landing_system() }} as system_identifier,
        {{ as_of() }} as as_of
)

select
    {%- if watermark %}
    coalesce(last_runs.to_xid, 0) as from_xid,
    {%- else %}
    cast(0 as {{ dbt.type_bigint() }}) as from_xid,
    {%- endif %}
    bounds.to_xid,
    bounds.system_identifier,
    bounds.as_of
from bounds
{%- if watermark %}
left join {{ watermark }} as last_runs on bounds.system_identifier = last_runs.system_identifier
{%- endif %}
