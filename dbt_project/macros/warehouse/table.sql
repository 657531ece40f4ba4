{#
    dbt's materialization of this name where the table stands in PostgreSQL, as it does in all runs but the
    first; there dbt's own does the work. That one renames the standing table, renames the new one, and drops
    the first after the commit: of a small model most of the time. Here the new one takes its place in one
    statement. Others read the one that stood until that statement, and wait from it to the commit, as they do
    with dbt's.
#}
{% materialization table, adapter='postgres' %}
    {%- set standing = load_cached_relation(this) -%}
    {%- if standing is none or not standing.is_table -%}
        {{ return(materialization_table_default()) }}
    {%- endif -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set intermediate = make_intermediate_relation(target_relation) -%}

    {# What a run of an earlier version that was killed has left. #}
    {% do drop_relation_if_exists(load_cached_relation(make_backup_relation(target_relation, 'table'))) %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('main') -%}
        {{ get_create_table_as_sql(False, intermediate, sql) }}
    {%- endcall %}
    {% do create_indexes(intermediate) %}
    {% call statement('take_its_place') -%}
        {{ get_drop_sql(standing) }};
        {{ get_rename_sql(intermediate, target_relation.identifier) }}
    {%- endcall %}
    {# Views over it are dropped with it, as dbt keeps in mind. What takes its place is noted at the end. #}
    {% do adapter.cache_dropped(standing) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do apply_grants(target_relation, config.get('grants'), should_revoke(standing, full_refresh_mode=True)) %}
    {% do persist_docs(target_relation, model) %}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
