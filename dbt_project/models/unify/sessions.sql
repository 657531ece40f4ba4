-- One row per visit: a run of a profile's events without a long pause, with a visit signal in it.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['session_id'],
    meta={'touched': 'int_profiles__touched', 'touched_key': 'profile_id'},
    indexes=[
        {'columns': ['session_id'], 'unique': true},
        {'columns': ['profile_id', 'started_at']},
    ],
) }}
{%- set touched = ref('int_profiles__touched') %}

select
    {{ md5_id('session_message_id') }} as session_id,
    profile_id,
    min(started_at) as started_at,
    max(ended_at) as ended_at,
    cast(sum(event_count) as {{ dbt.type_bigint() }}) as event_count
from {{ ref('int_visits__joined') }}
where
    is_session
{%- if is_incremental() %}
    and profile_id in (select touched.profile_id from {{ touched }} as touched)
{%- endif %}
group by profile_id, session_message_id
