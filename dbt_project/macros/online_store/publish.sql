{#
    Materialization `published`: the model selects the one row of the watermark. In one transaction,
    by changing rows alone, the tables of the online store are brought to what this run computed and
    the watermark to its bound. Readers go on meanwhile and see all of it or nothing;
    a run that is killed has published nothing, and the next one makes it good.
#}
{% materialization published, adapter='postgres' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set window = run_window() -%}
    {%- set earlier = tables_of_earlier_runs() -%}
    {%- if earlier -%}
        {% do refuse_to_build(
            model.name,
            'the run that refresh_window began has not built ' ~ earlier | join(', ') ~ ' yet',
            'Run `cdp refresh`'
        ) %}
    {%- endif %}

    {# The shape first, in a transaction of its own: changing a table locks readers out. #}
    {%- set columns = get_column_schema_from_query(get_empty_subquery_sql(sql)) -%}
    {%- set standing = standing_online_tables() -%}
    {% do shape_online_table(standing, target_relation, sql, columns, ['to_xid']) %}
    {%- set shaped = [] -%}
    {%- for table in online_tables(window) -%}
        {%- set table_columns = get_column_schema_from_query(get_empty_subquery_sql(table.rows)) -%}
        {%- set relation = online_relation(table.name) -%}
        {%- do shape_online_table(
            standing, relation, table.rows, table_columns, table.key, table.indexes,
            fillfactor=100 if table.since else 90
        ) -%}
        {%- do shaped.append({
            'table': table,
            'columns': table_columns | map(attribute='name') | list,
        }) -%}
    {%- endfor %}
    {%- set filled = filled_tables() %}
    {% do commit_and_go_on() %}

    {%- set writes_all = window.from_xid == 0 or not answers_for(target_relation, window) -%}
    {%- for each in shaped -%}
        {%- set is_full = writes_all or each.table.name not in filled -%}
        {% do write_online_delta(each.table, each.columns, is_full) %}
        {%- if is_full -%}
            {% do run_query('analyze ' ~ online_relation(each.table.name)) %}
            {% do mark_filled(online_relation(each.table.name)) %}
        {%- endif -%}
    {%- endfor %}
    {% do publish_functions() %}
    {% do run_query("select raw.forget_landings('" ~ window.to_xid ~ "')") %}
    {% do run_query('delete from ' ~ target_relation) %}
    {% call statement('main') -%}
        insert into {{ target_relation }} ({{ columns | map(attribute='name') | join(', ') }})
        {{ sql }}
    {%- endcall %}

    {{ run_hooks(post_hooks) }}
    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{# BigQuery has no readers of single rows: there the watermark is a plain table, and the online store
   in PostgreSQL is filled from its tables. #}
{% macro watermark_materialization() %}
    {{ return(adapter.dispatch('watermark_materialization')()) }}
{% endmacro %}
{% macro postgres__watermark_materialization() %}{{ return('published') }}{% endmacro %}
{% macro bigquery__watermark_materialization() %}{{ return('table') }}{% endmacro %}


{# The driver does not see this commit and would go on without a transaction: begin says so. #}
{% macro commit_and_go_on() %}
    {% do run_query('commit') %}
    {% do run_query('begin') %}
{% endmacro %}


{# Whether the store stands where this run's window begins, or where it ends, when this step is repeated.
   With BigQuery as the engine it may stand at an earlier run, whose successor was computed there and
   never published here. #}
{% macro answers_for(watermark, window) %}
    {% set standing = run_query('select coalesce(run, to_xid), to_xid from ' ~ watermark).rows %}
    {{ return(
        standing | length == 1
        and (standing[0][0], standing[0][1]) in (
            (window.published_run, window.published_xid), (window.run, window.to_xid)
        )
    ) }}
{% endmacro %}


{% macro online_relation(name) %}
    {{ return(this.incorporate(path={'identifier': name}, type='table')) }}
{% endmacro %}


{# Of each table of the online store that stands, by its name, the `columns` and the `indexes` in words. #}
{% macro standing_online_tables() %}
    {% set described %}
    select
        tables.relname::text as name,
        (
            select string_agg(columns.attname::text, ';')
            from pg_attribute as columns
            where columns.attrelid = tables.oid and columns.attnum > 0 and not columns.attisdropped
        ) as columns,
        (
            select string_agg(standing.described, ';')
            from ({{ standing_indexes('tables.oid') }}) as standing
        ) as indexes
    from pg_class as tables
    where tables.relnamespace = '{{ this.schema }}'::regnamespace and tables.relkind in ('r', 'p')
    {% endset %}
    {% set standing = {} %}
    {% for table in run_query(described) %}
        {% do standing.update({table.name: {
            'columns': (table.columns or '').split(';'),
            'indexes': (table.indexes or '').split(';'),
        }}) %}
    {% endfor %}
    {{ return(standing) }}
{% endmacro %}


{# Make a table of these columns, or add what it lacks. Nothing is locked where nothing changes. #}
{% macro shape_online_table(standing, relation, rows, columns, key=[], indexes=[], fillfactor=100) %}
    {% set table = standing.get(relation.identifier, {'columns': [], 'indexes': []}) %}
    {% if not table.columns %}
        {% do run_query('create table ' ~ relation ~ ' with (fillfactor = ' ~ fillfactor ~ ') as select * from ('
            ~ rows ~ ') as shape where false') %}
        {% if key %}
            {% do run_query('create unique index ' ~ relation.identifier ~ '_key on ' ~ relation
                ~ ' (' ~ key | join(', ') ~ ')') %}
        {% endif %}
    {% elif columns | rejectattr('name', 'in', table.columns) | list %}
        {# What dbt calls their types is the driver's name for them, which PostgreSQL need not know. #}
        {% set scratch = create_scratch_table(
            'shape_of_' ~ relation.identifier, 'select * from (' ~ rows ~ ') as shape where false'
        ) %}
        {% for column in run_query(described_columns(scratch)) if column.name not in table.columns %}
            {% do run_query('alter table ' ~ relation ~ ' add column ' ~ column.name ~ ' ' ~ column.type) %}
        {% endfor %}
        {% do drop_scratch_table(scratch) %}
        {% do run_query('comment on table ' ~ relation ~ ' is null') %}
        {# Readers are locked out of one table at a time: of two, each side could wait for the other. #}
        {% do commit_and_go_on() %}
    {% endif %}
    {# Those that it does not have yet: all of a new one, or what an earlier version had not. #}
    {% for index in indexes if ('btree ' ~ index) not in table.indexes %}
        {% do run_query('create index ' ~ relation.identifier ~ '_' ~ index.split(',')[0]
            ~ ' on ' ~ relation ~ ' (' ~ index ~ ')') %}
    {% endfor %}
{% endmacro %}


{# The tables that a publication has filled as they are shaped now. A comment on each says so, written
   in the transaction that fills it: a run may be killed between the two. #}
{% macro filled_tables() %}
    {{ return(run_query(
        "select relname::text from pg_class where relnamespace = '" ~ this.schema ~ "'::regnamespace"
        ~ " and obj_description(oid, 'pg_class') = 'filled'"
    ).columns[0].values() | list) }}
{% endmacro %}

{% macro mark_filled(relation) %}
    {% do run_query('comment on table ' ~ relation ~ " is 'filled'") %}
{% endmacro %}


{# Bring a table from what it says to what it should say, writing what differs. A later run changes rows
   where they stand: most often no index names what changed, and PostgreSQL then writes to none. A full
   one deletes and inserts instead, since an update would be a third look at every row. #}
{% macro write_online_delta(table, columns, is_full) %}
    {% set relation = online_relation(table.name) %}
    {% set selected = 'select selected.* from (' ~ table.rows ~ ') as selected' %}
    {% set deletion = 'delete from ' ~ relation ~ ' as standing where true' %}
    {% set same_key, same_row, assignments = [], [], [] %}
    {% for column in table.key %}
        {% do same_key.append('selected.' ~ column ~ ' = standing.' ~ column) %}
    {% endfor %}
    {% for column in columns if column not in table.key %}
        {% do same_row.append('selected.' ~ column ~ ' is not distinct from standing.' ~ column) %}
        {% do assignments.append(column ~ ' = selected.' ~ column) %}
    {% endfor %}
    {% set only_adds = table.since and not is_full %}
    {% if only_adds %}
        {% set column, bound = table.since %}
        {% set selected = selected ~ ' where selected.' ~ column ~ ' >= ' ~ bound %}
    {% elif not is_full and table.scope %}
        {% set column, in_scope = table.scope %}
        {% set selected = selected ~ ' where selected.' ~ column ~ ' in (' ~ in_scope ~ ')' %}
        {% set deletion = 'delete from ' ~ relation ~ ' as standing where standing.' ~ column
            ~ ' in (' ~ in_scope ~ ')' %}
    {% elif not is_full and table.touched %}
        {% set touched, key, touched_from = table.touched %}
        {% set deletion = delete_touched(relation, touched, key, touched_from) %}
        {% set bounds = [] %}
        {% for instant, bound in touched_from.items() %}
            {% do bounds.append(' and selected.' ~ instant ~ ' >= touched.' ~ bound) %}
        {% endfor %}
        {% set selected = selected ~ ' inner join ' ~ touched ~ ' as touched on selected.' ~ key
            ~ ' = touched.' ~ key ~ bounds | join %}
    {% endif %}
    {% set scratch = none %}
    {% if not is_full and not only_adds %}
        {# Read three times, and the planner guesses too high how much a scope leaves of a table. #}
        {% set scratch = create_scratch_table('published_' ~ table.name, selected) %}
        {% set selected = 'select * from ' ~ scratch %}
    {% endif %}
    {% if not only_adds %}
        {% do run_query(
            deletion ~ ' and not exists (select 1 from (' ~ selected ~ ') as selected where '
            ~ (same_key + (same_row if is_full else [])) | join(' and ') ~ ')'
        ) %}
    {% endif %}
    {% if scratch and assignments %}
        {% do run_query(
            'update ' ~ relation ~ ' as standing set ' ~ assignments | join(', ') ~ ' from (' ~ selected
            ~ ') as selected where ' ~ same_key | join(' and ') ~ ' and not (' ~ same_row | join(' and ') ~ ')'
        ) %}
    {% endif %}
    {% do run_query(
        'insert into ' ~ relation ~ ' (' ~ columns | join(', ') ~ ') select ' ~ columns | join(', ')
        ~ ' from (' ~ selected ~ ') as selected where not exists (select 1 from ' ~ relation
        ~ ' as standing where ' ~ same_key | join(' and ') ~ ')'
    ) %}
    {% if scratch %}{% do drop_scratch_table(scratch) %}{% endif %}
{% endmacro %}
