{# How members are kept, and the number of an audience. #}

{# An audience's number: the same in every environment and warehouse, because it is made of the key.
   32 bits keep it short; a test fails should two keys ever share one. #}
{% macro audience_id(audience_key) %}{{ return(adapter.dispatch('audience_id')(audience_key)) }}{% endmacro %}

{% macro postgres__audience_id(audience_key) %}
    {{ return("('x' || left(md5(" ~ audience_key ~ "), 8))::bit(32)::bigint") }}
{% endmacro %}

{% macro bigquery__audience_id(audience_key) %}
    {{ return("cast(concat('0x', left(to_hex(md5(" ~ audience_key ~ ")), 8)) as int64)") }}
{% endmacro %}


{# BigQuery writes a table by columns: there it is written whole. #}
{% macro members_materialization() %}{{ return(adapter.dispatch('members_materialization')()) }}{% endmacro %}
{% macro postgres__members_materialization() %}{{ return('incremental') }}{% endmacro %}
{% macro bigquery__members_materialization() %}{{ return('table') }}{% endmacro %}


{# The incremental strategy `apply_members`: one statement that deletes, adds and corrects members. #}
{% macro get_incremental_apply_members_sql(arg_dict) %}
merge into {{ arg_dict['target_relation'] }} as members
using {{ arg_dict['temp_relation'] }} as changed
    on members.audience_id = changed.audience_id and members.profile_id = changed.profile_id
when matched and changed.added_at is null then delete
when matched then update set added_at = changed.added_at
when not matched and changed.added_at is not null then
    insert (audience_id, profile_id, added_at)
    values (changed.audience_id, changed.profile_id, changed.added_at)
{% endmacro %}
