-- One row per mistake in a definition. Its audience keeps its last good members.
select
    cast(null as {{ dbt.type_bigint() }}) as audience_id,
    cast(null as {{ dbt.type_string() }}) as audience_key,
    cast(null as {{ dbt.type_int() }}) as definition_version,
    cast(null as {{ dbt.type_int() }}) as error_number,
    cast(null as {{ dbt.type_string() }}) as path,
    cast(null as {{ dbt.type_string() }}) as message
from (select 1 as placeholder) as no_rows
where false
{%- for audience in compiled_audiences(ref('int_audiences__compiled'), with_errors=true) %}
{%- for error in audience.errors %}
union all
select
    {{ audience.audience_id }},
    {{ text_literal(audience.audience_key) }},
    {{ audience.definition_version }},
    {{ loop.index }},
    {{ text_literal(error.path) }},
    {{ text_literal(error.message) }}
{%- endfor %}
{%- endfor %}
