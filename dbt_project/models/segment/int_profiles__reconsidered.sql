-- One row per profile that may have come into or out of an audience since the last complete run
-- although no definition changed: something happened to it, it is gone, or time moved a window.
{{ config(
    indexes=[{'columns': ['profile_id'], 'unique': true}],
    post_hook="{{ refresh_statistics() }}",
) }}
{%- set window = run_window() %}
{%- set standing = planned_audiences(
    ref('int_audiences__planned'), ref('int_audiences__compiled'), is_whole=false
) %}
{%- set members = load_relation(this.incorporate(path={'identifier': 'audience_members'})) %}
{#- Any other run has touched the profiles that it takes away. #}
{%- set is_whole_run = window.from_xid == 0 %}
{%- set horizons = [] %}
{%- for audience in standing %}
    {%- for horizon in audience.horizons %}
        {#- Whole days begin at midnight: within one day they do not move. #}
        {%- if horizon not in horizons
                and (not horizon.is_whole_days or window.published_on != window.as_of_on) %}
            {%- do horizons.append(horizon) %}
        {%- endif %}
    {%- endfor %}
{%- endfor %}
{%- if standing and members %}
with moved_by_time as (
{{ profiles_moved_by_time(
    horizons,
    ref('profiles'),
    ref('events'),
    timestamp_literal(window.published_as_of.isoformat()),
    timestamp_literal(window.as_of.isoformat()),
) }}
),

{% if is_whole_run %}gone as (
    select members.profile_id
    from {{ members }} as members
    left join {{ ref('profiles') }} as profiles on members.profile_id = profiles.profile_id
    where profiles.profile_id is null
),

{% endif %}reconsidered as (
    select profile_id
    from {{ ref('int_profiles__touched') }}
    where touched_in > {{ window.published_run }}
    union distinct
    select profile_id
    from moved_by_time
    {%- if is_whole_run %}
    union distinct
    select profile_id
    from gone
    {%- endif %}
)

select profile_id
from reconsidered
where profile_id is not null
{%- else %}
select profile_id
from {{ ref('int_profiles__touched') }}
where false
{%- endif %}
-- depends_on: {{ ref('refresh_window') }}
-- depends_on: {{ ref('profiles') }}
-- depends_on: {{ ref('events') }}
