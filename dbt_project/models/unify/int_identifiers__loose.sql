-- One row per identifier whose component this run has to find anew: it is new, it may link again,
-- or an identifier drops out of its component. Empty in a full run, which finds all anew.
{{ config(indexes=[{'columns': ['identifier_key'], 'unique': true}]) }}
{%- set window = run_window() %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = as_left_by_earlier_runs('int_identifiers__resolved') %}

{% if resolves_all() %}
select identifier_key
from {{ judged }}
where false
{%- else %}
with judged_anew as (
    select *
    from {{ judged }}
    where judged_in > {{ window.published_run }}
),

losing_components as (
    select distinct resolved.root_key
    from judged_anew
    inner join {{ resolved }} as resolved
        on judged_anew.identifier_key = resolved.identifier_key
    where not judged_anew.is_linking
)

select identifier_key
from judged_anew
where is_linking
union distinct
select members.identifier_key
from losing_components
inner join {{ resolved }} as members on losing_components.root_key = members.root_key
inner join {{ judged }} as judged on members.identifier_key = judged.identifier_key
where judged.is_linking
{%- endif %}
