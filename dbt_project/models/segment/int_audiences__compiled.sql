-- One row per enabled audience: its definition as SQL, or what is wrong with it.
-- Compiled once per run; the lists are JSON text. Windows count back from the instant of the data.
{%- set as_of = '(select as_of from ' ~ ref('refresh_window') ~ ')' %}
{%- set rows = defined_audiences(ref('int_audiences__versioned')) %}
{%- set compiled = compile_audiences(rows, as_of) %}
{%- set versions = {} %}
{%- for row in rows %}
{%- do versions.update({row.audience_key: row.definition_version}) %}
{%- endfor %}
select
    cast(null as {{ dbt.type_bigint() }}) as audience_id,
    cast(null as {{ dbt.type_string() }}) as audience_key,
    cast(null as {{ dbt.type_int() }}) as definition_version,
    cast(null as {{ dbt.type_string() }}) as predicate,
    cast(null as {{ dbt.type_string() }}) as measures,
    cast(null as {{ dbt.type_string() }}) as sequences,
    cast(null as {{ dbt.type_string() }}) as events_read,
    cast(null as {{ dbt.type_string() }}) as horizons,
    cast(null as {{ dbt.type_string() }}) as rule_digest,
    cast(null as {{ dbt.type_string() }}) as errors
from (select 1 as placeholder) as no_rows
where false
{%- for row in rows if row.is_enabled %}
{%- set audience = compiled[row.audience_key] %}
{#- With the versions, so that a rule that went and came back between two complete runs differs. #}
{%- set meant = [
    audience.predicate, audience.measures, audience.sequences, row.definition_version
] %}
{%- for key in audience.referenced %}{% do meant.append([key, versions[key]]) %}{% endfor %}
union all
select
    {{ row.audience_id }},
    {{ text_literal(row.audience_key) }},
    {{ row.definition_version }},
    {{ text_literal(audience.predicate) }},
    {{ text_literal(tojson(audience.measures)) }},
    {{ text_literal(tojson(audience.sequences)) }},
    {{ text_literal(tojson(audience.events_read)) }},
    {{ text_literal(tojson(audience.horizons)) }},
    {{ text_literal(local_md5(tojson(meant))) }},
    {{ text_literal(tojson(audience.errors)) }}
{%- endfor %}
