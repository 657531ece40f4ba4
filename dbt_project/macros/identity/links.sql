{# The links that a run has to follow: all of them in a full run; else those that are new and those of
   identifiers whose component has to be found again. #}
{% macro links_to_follow() %}
    {%- set window = run_window() -%}
    {%- set linked = ref('int_identifiers__linked') -%}
    {%- set loose = ref('int_identifiers__loose') -%}
    {%- set columns = 'node_a, node_b, user_key, kind' -%}
    {%- if window.from_xid == 0 -%}
    select {{ columns }}
    from {{ linked }}
    {%- else -%}
    select {{ columns }}
    from {{ linked }}
    where landing >= {{ landing_position(window.from_xid, 0) }}
    {%- for side in ['node_a', 'node_b'] %}
    union distinct
    select {{ columns }}
    from {{ loose }} as loose
    inner join {{ linked }} as links on loose.identifier_key = links.{{ side }}
    {%- endfor %}
    {%- endif %}
{% endmacro %}

{# The table that an earlier run left under a model's name; none before the first run. For a step that
   builds on the result of a later step, which it therefore cannot ref(). #}
{% macro as_left_by_earlier_runs(model_name) %}
    {# Unit tests have no table of their own. #}
    {% if not execute or not this %}
        {{ return(none) }}
    {% endif %}
    {{ return(load_relation(this.incorporate(path={'identifier': model_name}))) }}
{% endmacro %}
