{# Whether a run finds every component anew: there is none to build on. #}
{% macro resolves_all() %}
    {{ return(run_window().from_xid == 0 or not as_left_by_earlier_runs('int_identifiers__resolved')) }}
{% endmacro %}

{# The links that a run has to follow: all of them in a full run; else those that are new and those of
   identifiers whose component has to be found again. #}
{% macro links_to_follow() %}
    {%- set linked = ref('int_identifiers__linked') -%}
    {%- set loose = ref('int_identifiers__loose') -%}
    {%- set columns = 'node_a, node_b, user_key, kind' -%}
    {%- if resolves_all() -%}
    select {{ columns }}
    from {{ linked }}
    {%- else -%}
    select {{ columns }}
    from {{ linked }}
    where landing >= {{ landing_position(run_window().from_xid, 0) }}
    {%- for side in ['node_a', 'node_b'] %}
    union distinct
    select {{ columns }}
    from {{ loose }} as loose
    inner join {{ linked }} as links on loose.identifier_key = links.{{ side }}
    {%- endfor %}
    {%- endif %}
{% endmacro %}

{# Of each identifier that may link and that a run looks at, the group it starts from. Later runs begin
   with the components that stand. #}
{% macro starting_groups() %}
    {%- set judged = ref('int_identifiers__judged') -%}
    {%- set grouped = ref('int_identifiers__grouped') -%}
    {%- if resolves_all() -%}
    select
        identifier_key,
        {{ first_group() }} as group_key
    from {{ judged }}
    where is_linking
    {%- else -%}
    select
        identifier_key,
        group_key
    from {{ grouped }}
    {%- endif %}
{% endmacro %}

{# The group that a judged identifier starts from in a full run. It is a cheap step for this data's shape:
   what was seen with a user_id falls in with the least of them. #}
{% macro first_group() %}coalesce(least_user_key, identifier_key){% endmacro %}

{# The table that an earlier run left under a model's name; none before the first run. For a step that
   builds on the result of a later step, which it therefore cannot ref(). #}
{% macro as_left_by_earlier_runs(model_name) %}
    {# Unit tests have no table of their own. #}
    {% if not execute or not this %}
        {{ return(none) }}
    {% endif %}
    {{ return(load_relation(this.incorporate(path={'identifier': model_name}))) }}
{% endmacro %}
