{# What stands before the name of a stage. On BigQuery a project has one namespace of data sets, so those
   of the stages begin with the profile's own: cdp_unify, cdp_segment ... #}
{% macro schema_prefix() %}
    {{ return(adapter.dispatch('schema_prefix')()) }}
{% endmacro %}

{# The job `verify` builds everything again beside the tables that stand. #}
{% macro postgres__schema_prefix() %}
    {{ return(var('schema_prefix', '')) }}
{% endmacro %}

{% macro bigquery__schema_prefix() %}
    {{ return(target.dataset ~ '_') }}
{% endmacro %}

{# Whether services write their own tables, such as decisions, into this warehouse. With BigQuery they
   stay in PostgreSQL, and so does what is computed from them. #}
{% macro has_tables_of_services() %}
    {{ return(adapter.dispatch('has_tables_of_services')()) }}
{% endmacro %}

{% macro postgres__has_tables_of_services() %}
    {{ return(true) }}
{% endmacro %}

{% macro bigquery__has_tables_of_services() %}
    {{ return(false) }}
{% endmacro %}
