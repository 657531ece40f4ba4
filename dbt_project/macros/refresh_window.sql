{#
    What a run has to do, for models that build on what earlier runs left.

    from_xid       events that landed in this transaction or later are new to this run; 0 in a full run
    to_xid         the run's upper bound
    published_xid  up to where the last complete run answered
    run            the number of the run, which stamps the rows of state that it writes
    published_run  that of the last complete run: rows with a later stamp were written since, by this
                   run or by one that did not end
    ...            see the model refresh_window

    A run that ended early is made good by the next one: both start from the same published run, and
    doing a step twice changes nothing. Asked once in a dbt run, by the first of its models that names
    refresh_window; before that, by each node once when rendered and once when built.
#}
{% macro run_window() %}
    {% set answers = answers_of_this_run() %}
    {% for kept in [answers, model] if 'run_window' in kept %}{{ return(kept.run_window) }}{% endfor %}
    {# Not ref(): dbt asks should_full_refresh() also for models that do not name refresh_window. #}
    {% set table = adapter.get_relation(
        target.database, generate_schema_name('collect', none), 'refresh_window'
    ) if execute else none %}
    {% if not table %}
        {# Parsing, or compiling before anything was built. #}
        {{ return({
            'from_xid': 0, 'to_xid': 0, 'run': 0, 'published_xid': 0, 'published_run': 0,
            'has_new_identity_rules': true, 'published_on': none, 'as_of_on': none,
            'published_as_of': none, 'as_of': none,
        }) }}
    {% endif %}
    {% set window = run_query('select * from ' ~ table).rows[0].dict() %}
    {# A node that is not made of refresh_window may see what the run before left in it, and keeps its own. #}
    {% do (answers if 'refresh_window' in model.refs | map(attribute='name') else model).update({
        'run_window': window
    }) %}
    {{ return(window) }}
{% endmacro %}

{# What nodes of this dbt run asked the warehouse and others need not ask again, by name: a question costs
   dbt several milliseconds, and on BigQuery it is a job. All nodes share `graph`. #}
{% macro answers_of_this_run() %}
    {# While dbt parses, graph is still to be made. #}
    {{ return(graph.setdefault('answers of run ' ~ invocation_id, {}) if execute else {}) }}
{% endmacro %}

{# dbt asks this wherever it decides between building afresh and adding. Beside its own flag, collect
   and unify are built in full when there is nothing published to build on, or when rules changed that
   reach every event. #}
{% macro should_full_refresh() %}
    {% set configured = config.get('full_refresh') %}
    {% if configured is not none %}
        {{ return(configured) }}
    {% endif %}
    {% if not works_by_window(model) %}
        {{ return(flags.FULL_REFRESH) }}
    {% endif %}
    {{ return(flags.FULL_REFRESH or run_window().from_xid == 0) }}
{% endmacro %}

{# Whether a node is a model of the stages that look at what a run's window says. #}
{% macro works_by_window(node) %}
    {{ return(node.resource_type == 'model' and node.fqn[1] in ('collect', 'unify')) }}
{% endmacro %}

{# Incremental strategy: the model selects all rows of the keys that are in the table named by
   meta.touched. Rows that are there already stay untouched, rows that differ are replaced, and rows
   that the model no longer selects go. unique_key names a row.
   meta.touched_from, {time of a row: column of the touched table}, leaves out the rows before. #}
{% macro get_incremental_replace_touched_sql(arg_dict) %}
    {% set target_table = arg_dict['target_relation'] %}
    {% set selected = arg_dict['temp_relation'] %}
    {% set touched_key = config.get('meta')['touched_key'] %}
    {% set touched = target_table.incorporate(
        path={'identifier': config.get('meta')['touched']}, type='table'
    ) %}
    {% set columns = arg_dict['dest_columns'] | map(attribute='name') | list %}
    {% set same_values = [] %}
    {% for column in arg_dict['dest_columns'] %}
        {% do same_values.append(is_same_value(column, 'selected', 'standing')) %}
    {% endfor %}
    {% set same_row = [] %}
    {% for column in arg_dict['unique_key'] %}
        {% do same_row.append('selected.' ~ column ~ ' = standing.' ~ column) %}
    {% endfor %}
    {{ delete_touched(target_table, touched, touched_key, config.get('meta').get('touched_from', {})) }}
        and not exists (
            select 1
            from {{ selected }} as selected
            where
                {{ (same_row + same_values) | join('\n                and ') }}
        );

    insert into {{ target_table }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }}
    from {{ selected }} as selected
    where
        not exists (
            select 1 from {{ target_table }} as standing where {{ same_row | join(' and ') }}
        )
{% endmacro %}

{# Hook of a model on its own table, whose rows carry their run: what a run that did not end had
   written goes, because this run finds it again. #}
{% macro forget_unpublished_rows() %}
    {%- set window = run_window() -%}
    {%- if is_incremental() and window.published_run > 0 -%}
    delete from {{ this }} where run > {{ window.published_run }}
    {%- endif -%}
{% endmacro %}

{# Days whose events are in the rolling window of one of two days and not of the other: a list of
   {first, end}, the end not included. #}
{% macro days_that_change_sides(day, other_day) %}
    {% set earlier, later = [day, other_day] | sort %}
    {% set length = modules.datetime.timedelta(days=var('rolling_window_days')) %}
    {% set next_day = modules.datetime.timedelta(days=1) %}
    {{ return([
        {'first': earlier + next_day - length, 'end': [later + next_day - length, earlier + next_day] | min},
        {'first': [earlier + next_day, later + next_day - length] | max, 'end': later + next_day},
    ]) }}
{% endmacro %}
