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

{# The UTC day of an instant. #}
{% macro day_of(instant) %}
    {{ return(adapter.dispatch('day_of')(instant)) }}
{% endmacro %}

{% macro postgres__day_of(instant) %}
    {{ return('(' ~ instant ~ " at time zone 'UTC')::date") }}
{% endmacro %}

{% macro bigquery__day_of(instant) %}
    {{ return('date(' ~ instant ~ ')') }}
{% endmacro %}

{% macro minutes_after(instant, minutes) %}
    {{ return(adapter.dispatch('minutes_after')(instant, minutes)) }}
{% endmacro %}

{% macro postgres__minutes_after(instant, minutes) %}
    {{ return('(' ~ instant ~ " + interval '" ~ minutes ~ " minutes')") }}
{% endmacro %}

{% macro bigquery__minutes_after(instant, minutes) %}
    {{ return('timestamp_add(' ~ instant ~ ', interval ' ~ minutes ~ ' minute)') }}
{% endmacro %}

{# Whether a day lies in the rolling window that ends with the day of this run. #}
{% macro in_rolling_window(day) %}
    {{ return(adapter.dispatch('in_rolling_window')(day)) }}
{% endmacro %}

{% macro postgres__in_rolling_window(day) %}
    {{ return(
        day ~ ' between ' ~ day_of(as_of()) ~ ' - ' ~ (var('rolling_window_days') - 1)
        ~ ' and ' ~ day_of(as_of())
    ) }}
{% endmacro %}

{% macro bigquery__in_rolling_window(day) %}
    {{ return(
        day ~ ' between date_sub(' ~ day_of(as_of()) ~ ', interval '
        ~ (var('rolling_window_days') - 1) ~ ' day) and ' ~ day_of(as_of())
    ) }}
{% endmacro %}
