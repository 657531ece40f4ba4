{# Hook: tell the planner about a table that was just built afresh. Without it PostgreSQL guesses, and
   scans what it should look up. Tables that a run adds to are left to autovacuum. #}
{% macro refresh_statistics() %}
    {% if execute and not is_incremental() %}
        {{ return(adapter.dispatch('refresh_statistics')()) }}
    {% endif %}
{% endmacro %}

{% macro postgres__refresh_statistics() %}
    {{ return('analyze ' ~ this) }}
{% endmacro %}

{% macro bigquery__refresh_statistics() %}
    {{ return('') }}
{% endmacro %}
