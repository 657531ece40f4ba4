{# The one instant that this run answers for. Models never ask the clock. #}
{% macro as_of() %}
    {{ return(timestamp_literal(var('as_of') or run_started_at.isoformat())) }}
{% endmacro %}

{% macro timestamp_literal(instant) %}
    {{ return(adapter.dispatch('timestamp_literal')(instant)) }}
{% endmacro %}

{% macro postgres__timestamp_literal(instant) %}
    {{ return("timestamptz '" ~ instant ~ "'") }}
{% endmacro %}

{% macro bigquery__timestamp_literal(instant) %}
    {{ return("timestamp '" ~ instant ~ "'") }}
{% endmacro %}
