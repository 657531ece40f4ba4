-- One row per visit: a run of a profile's events without a long pause, with a visit signal in it.
select
    {{ md5_id('session_message_id') }} as session_id,
    profile_id,
    min(started_at) as started_at,
    max(ended_at) as ended_at,
    cast(sum(event_count) as {{ dbt.type_bigint() }}) as event_count
from {{ ref('int_visits__joined') }}
group by profile_id, session_message_id
having sum(visit_signal_count) > 0
