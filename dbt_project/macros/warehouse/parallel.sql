{# How PostgreSQL uses several processors for one statement. #}

{# Hook: one process alone scans this table. Who reads it unites many scans of it, and those run side by
   side only as long as none of them is run by several processes for itself. #}
{% macro scan_in_one_process() %}
    {% if execute %}
        {{ return(adapter.dispatch('scan_in_one_process')()) }}
    {% endif %}
{% endmacro %}

{% macro postgres__scan_in_one_process() %}
    {{ return('alter table ' ~ this ~ ' set (parallel_workers = 0)') }}
{% endmacro %}

{% macro bigquery__scan_in_one_process() %}
    {{ return('') }}
{% endmacro %}

{# Between `as` and the query of a CTE: its rows are found once, not by every process that joins them. #}
{% macro computed_once() %}{{ return(adapter.dispatch('computed_once')()) }}{% endmacro %}
{% macro postgres__computed_once() %}{{ return('materialized') }}{% endmacro %}
{% macro bigquery__computed_once() %}{{ return('') }}{% endmacro %}
