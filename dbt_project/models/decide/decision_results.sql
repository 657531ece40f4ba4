{{ config(enabled=has_tables_of_services()) }}
-- One row per decision rule: what came after its first decision for each profile, for those who got
-- its experience (treated) and for those who were kept out (held out), and the difference.
-- An order counts within decision_window_days (of 24 hours), a decision once that window is over.
-- Of a rule with a holdout only what was decided while one was in force counts: before, everybody
-- was treated, and whoever is held out later would count there.
with decisions as (
    select
        decisions.decision_id,
        cast(
            coalesce(decisions.profile_id, decisions.subject_id) as {{ type_uuid() }}
        ) as issued_profile_id,
        decisions.profile_id is not null as was_known,
        decisions.rule_key,
        decisions.is_holdout,
        decisions.decided_at,
        decisions.holdout_percent,
        -- Rows from before it was noted say it by whom they kept out.
        min(case when decisions.is_holdout then decisions.decided_at end) over (
            partition by decisions.rule_key, decisions.rule_version
        ) as first_held_out_at
    from {{ source('decide', 'decisions') }} as decisions
    where
        coalesce(decisions.profile_id, decisions.subject_id) is not null
        and not decisions.is_degraded
        and {{ minutes_after('decisions.decided_at', var('decision_window_days') * 1440) }}
        <= {{ as_of() }}
),

-- An id that was ever issued is that of an identifier, which leads to today's profile.
named as (
    select
        {{ profile_id_of('identifier_type', 'identifier_value') }} as issued_profile_id,
        profile_id
    from {{ ref('identifiers') }}
    where profile_id is not null
),

-- Somebody unknown who was never seen afterwards bought nothing, and counts: if only those who came
-- back did, an experience that brings people back would hide what it does.
resolved as (
    select
        coalesce(named.profile_id, decisions.issued_profile_id) as profile_id,
        decisions.decision_id,
        decisions.rule_key,
        decisions.is_holdout,
        decisions.decided_at,
        case
            when decisions.holdout_percent is not null
                then case when decisions.holdout_percent > 0 then 1 else 0 end
            when decisions.first_held_out_at <= decisions.decided_at then 1
            else 0
        end as has_holdout
    from decisions
    left join named on decisions.issued_profile_id = named.issued_profile_id
    where named.profile_id is not null or not decisions.was_known
),

rule_holdouts as (
    select
        rule_key,
        max(has_holdout) as has_holdout
    from resolved
    group by rule_key
),

ranked as (
    select
        resolved.profile_id,
        resolved.rule_key,
        resolved.is_holdout,
        resolved.decided_at,
        row_number() over (
            partition by resolved.profile_id, resolved.rule_key
            order by resolved.decided_at, resolved.decision_id
        ) as decision_number
    from resolved
    inner join rule_holdouts
        on
            resolved.rule_key = rule_holdouts.rule_key
            and resolved.has_holdout = rule_holdouts.has_holdout
),

first_decisions as (
    select *
    from ranked
    where decision_number = 1
),

outcomes as (
    select
        first_decisions.profile_id,
        first_decisions.rule_key,
        first_decisions.is_holdout,
        case when count(orders.order_key) > 0 then 1 else 0 end as is_converted,
        cast(coalesce(sum(orders.net_amount_usd), 0) as {{ dbt.type_float() }}) as revenue_usd
    from first_decisions
    left join {{ ref('int_orders__by_profile') }} as orders
        on
            first_decisions.profile_id = orders.profile_id
            and first_decisions.decided_at <= orders.ordered_at
            and orders.ordered_at < {{ minutes_after(
                'first_decisions.decided_at', var('decision_window_days') * 1440
            ) }}
    group by
        first_decisions.profile_id, first_decisions.rule_key, first_decisions.is_holdout,
        first_decisions.decided_at
),

arms as (
    select
        rule_key,
        is_holdout,
        count(*) as profile_count,
        sum(is_converted) as conversion_count,
        cast(sum(is_converted) as {{ dbt.type_float() }}) / count(*) as conversion_rate,
        sum(revenue_usd) as revenue_usd,
        avg(revenue_usd) as revenue_per_profile_usd,
        -- Exactly 0 where all are equal: a variance leaves a remainder of rounding.
        case
            when min(revenue_usd) < max(revenue_usd) then var_samp(revenue_usd) / count(*)
            else 0
        end as revenue_error
    from outcomes
    group by rule_key, is_holdout
),

-- Wilson's interval, 95%: it holds for few profiles and for rates near 0 and 1.
spread as (
    select
        *,
        (conversion_rate + 1.9208 / profile_count) / (1 + 3.8416 / profile_count) as middle,
        1.96 * sqrt(
            (conversion_rate * (1 - conversion_rate) + 0.9604 / profile_count) / profile_count
        ) / (1 + 3.8416 / profile_count) as margin
    from arms
),

bounded as (
    select
        *,
        middle - margin as conversion_rate_low,
        middle + margin as conversion_rate_high
    from spread
),

treated as (
    select *
    from bounded
    where not is_holdout
),

held_out as (
    select *
    from bounded
    where is_holdout
),

rules as (
    select distinct rule_key
    from bounded
),

-- The interval of the difference: Newcombe's for rates, made of Wilson's. For revenue Welch's
-- standard error and the normal quantile, which is too small for few profiles. Where each arm spent
-- the same all through, nothing says how far they could differ.
compared as (
    select
        rules.rule_key,
        treated.conversion_rate - held_out.conversion_rate as conversion_lift,
        sqrt(
            power(treated.conversion_rate - treated.conversion_rate_low, 2)
            + power(held_out.conversion_rate_high - held_out.conversion_rate, 2)
        ) as lift_below,
        sqrt(
            power(treated.conversion_rate_high - treated.conversion_rate, 2)
            + power(held_out.conversion_rate - held_out.conversion_rate_low, 2)
        ) as lift_above,
        treated.revenue_per_profile_usd - held_out.revenue_per_profile_usd as revenue_lift_usd,
        case
            when
                treated.profile_count >= {{ var('least_profiles_for_revenue_interval') }}
                and held_out.profile_count >= {{ var('least_profiles_for_revenue_interval') }}
                and treated.revenue_error + held_out.revenue_error > 0
                then 1.96 * sqrt(treated.revenue_error + held_out.revenue_error)
        end as revenue_lift_margin_usd
    from rules
    left join treated on rules.rule_key = treated.rule_key
    left join held_out on rules.rule_key = held_out.rule_key
)

select
    compared.rule_key,
    coalesce(treated.profile_count, 0) as treated_count,
    coalesce(treated.conversion_count, 0) as treated_conversion_count,
    treated.conversion_rate as treated_conversion_rate,
    treated.conversion_rate_low as treated_conversion_rate_low,
    treated.conversion_rate_high as treated_conversion_rate_high,
    coalesce(treated.revenue_usd, 0) as treated_revenue_usd,
    treated.revenue_per_profile_usd as treated_revenue_per_profile_usd,
    coalesce(held_out.profile_count, 0) as held_out_count,
    coalesce(held_out.conversion_count, 0) as held_out_conversion_count,
    held_out.conversion_rate as held_out_conversion_rate,
    held_out.conversion_rate_low as held_out_conversion_rate_low,
    held_out.conversion_rate_high as held_out_conversion_rate_high,
    coalesce(held_out.revenue_usd, 0) as held_out_revenue_usd,
    held_out.revenue_per_profile_usd as held_out_revenue_per_profile_usd,
    compared.conversion_lift,
    compared.conversion_lift - compared.lift_below as conversion_lift_low,
    compared.conversion_lift + compared.lift_above as conversion_lift_high,
    compared.revenue_lift_usd,
    compared.revenue_lift_usd - compared.revenue_lift_margin_usd as revenue_lift_low_usd,
    compared.revenue_lift_usd + compared.revenue_lift_margin_usd as revenue_lift_high_usd
from compared
left join treated on compared.rule_key = treated.rule_key
left join held_out on compared.rule_key = held_out.rule_key
