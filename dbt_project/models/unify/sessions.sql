-- One row per visit: a run of a profile's events without a long pause, with a visit signal in it.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['session_id'],
    meta={
        'touched': 'int_profiles__touched',
        'touched_key': 'profile_id',
        'touched_from': {'started_at': 'visits_change_from'},
    },
    indexes=[
        {'columns': ['session_id'], 'unique': true},
        {'columns': ['profile_id', 'started_at']},
    ],
) }}
{%- set touched = ref('int_profiles__touched') %}

select
    {{ md5_id('visits.session_message_id') }} as session_id,
    visits.profile_id,
    min(visits.started_at) as started_at,
    max(visits.ended_at) as ended_at,
    cast(sum(visits.event_count) as {{ dbt.type_bigint() }}) as event_count
from {{ ref('int_visits__joined') }} as visits
{%- if is_incremental() %}
inner join {{ touched }} as touched
    on
        visits.profile_id = touched.profile_id
        and visits.started_at >= touched.visits_change_from
{%- endif %}
where visits.is_session
group by visits.profile_id, visits.session_message_id
