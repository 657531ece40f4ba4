{# Contracts and seeds name PostgreSQL's types. What follows lets BigQuery read them as its own. #}

{# A type of a contract as this warehouse calls it. #}
{% macro own_type(data_type) %}
    {{ return(adapter.dispatch('own_type')(data_type)) }}
{% endmacro %}

{% macro postgres__own_type(data_type) %}
    {{ return(data_type) }}
{% endmacro %}

{% macro bigquery__own_type(data_type) %}
    {% set own_types = {
        'text': 'string',
        'uuid': 'string',
        'bigint': 'int64',
        'integer': 'int64',
        'double precision': 'float64',
        'numeric': 'numeric',
        'boolean': 'bool',
        'date': 'date',
        'timestamptz': 'timestamp',
        'jsonb': 'json',
    } %}
    {% if data_type.endswith('[]') %}
        {{ return('array<' ~ bigquery__own_type(data_type[:-2]) ~ '>') }}
    {% endif %}
    {# dbt itself has translated some of them already, such as text. #}
    {{ return(own_types.get(data_type | lower, data_type)) }}
{% endmacro %}

{# The columns of a contract with the types of this warehouse. #}
{% macro columns_in_own_types(columns) %}
    {% set translated = {} %}
    {% for name, column in columns.items() %}
        {% do translated.update({name: dict(column, data_type=own_type(column['data_type']))}) %}
    {% endfor %}
    {{ return(translated) }}
{% endmacro %}

{# The three places where the adapter reads the types of a contract or a seed. #}
{% macro bigquery__get_empty_schema_sql(columns) %}
    {{ return(dbt.default__get_empty_schema_sql(columns_in_own_types(columns))) }}
{% endmacro %}

{% macro bigquery__get_table_columns_and_constraints() %}
    {% set columns = adapter.render_raw_columns_constraints(
        raw_columns=columns_in_own_types(model['columns'])
    ) %}
    {{ return('(' ~ columns | join(', ') ~ ')') }}
{% endmacro %}

{% macro bigquery__load_csv_rows(model, agate_table) %}
    {% set types = {} %}
    {% for column, data_type in model['config'].get('column_types', {}).items() %}
        {% do types.update({column: own_type(data_type)}) %}
    {% endfor %}
    {% do adapter.load_dataframe(
        model['database'], model['schema'], model['alias'], agate_table, types,
        model['config']['delimiter']
    ) %}
{% endmacro %}
