-- One row per anchor's visit: the session of the profile that it is part of.
-- Runs of several anchors (devices, say) that overlap or follow closely are one session.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['anchor_id', 'visit_message_id'],
    meta={
        'touched': 'int_profiles__touched',
        'touched_key': 'profile_id',
        'touched_from': {'started_at': 'visits_change_from'},
    },
    indexes=[
        {'columns': ['anchor_id', 'visit_message_id'], 'unique': true},
        {'columns': ['profile_id', 'started_at']},
        {'columns': ['changed_in'], 'where': "changed_in > {{ run_window().run }}"},
    ],
) }}
{%- set touched = ref('int_profiles__touched') %}
{%- set window = run_window() %}

with owners as (
    {%- if is_incremental() %}
    -- They are distinct already. It keeps PostgreSQL from taking the join apart, and so it looks up
    -- each anchor's visits from that instant on, instead of reading all of them.
    select distinct
        owners.anchor_id,
        owners.profile_id,
        touched.visits_change_from
    from {{ ref('int_anchors__resolved') }} as owners
    inner join {{ touched }} as touched on owners.profile_id = touched.profile_id
    {%- else %}
    select
        anchor_id,
        profile_id
    from {{ ref('int_anchors__resolved') }}
    where profile_id is not null
    {%- endif %}
),

visits as (
    select
        visits.*,
        owners.profile_id
    from {{ ref('int_visits__by_anchor') }} as visits
    inner join owners on visits.anchor_id = owners.anchor_id
    {%- if is_incremental() %}
    where visits.started_at >= owners.visits_change_from
    {%- endif %}
),

separated as (
    select
        *,
        coalesce(
            started_at >= {{ minutes_after(
                'max(ended_at) over (partition by profile_id order by started_at, '
                ~ in_byte_order('visit_message_id') ~ ' rows between unbounded preceding and 1 preceding)',
                var('session_timeout_minutes')
            ) }},
            true
        ) as starts_session
    from visits
),

numbered as (
    select
        *,
        sum(case when starts_session then 1 else 0 end) over (
            partition by profile_id
            order by started_at, {{ in_byte_order('visit_message_id') }}
            rows between unbounded preceding and current row
        ) as session_number
    from separated
),

joined as (
    select
        anchor_id,
        visit_message_id,
        profile_id,
        started_at,
        ended_at,
        event_count,
        min(case when starts_session then visit_message_id end)
            over (partition by profile_id, session_number) as session_message_id,
        sum(visit_signal_count) over (partition by profile_id, session_number) > 0 as is_session
    from numbered
)
{%- if is_incremental() %},

known as (
    select standing.*
    from {{ touched }} as touched
    inner join {{ this }} as standing
        on
            touched.profile_id = standing.profile_id
            and touched.visits_change_from <= standing.started_at
)

select
    joined.*,
    -- Its events have to say something else than before.
    case
        when
            known.profile_id = joined.profile_id
            and known.session_message_id = joined.session_message_id
            and known.is_session = joined.is_session
            then known.changed_in
        else {{ window.run }}
    end as changed_in
from joined
left join known
    on
        joined.anchor_id = known.anchor_id
        and joined.visit_message_id = known.visit_message_id
{%- else %}

select
    joined.*,
    {{ window.run }} as changed_in
from joined
{%- endif %}
