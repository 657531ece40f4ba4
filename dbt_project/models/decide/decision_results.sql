-- One row per decision rule: what came after its first decision for each profile, for those who got
-- its experience (treated) and for those who were kept out (held out), and the difference.
-- An order counts for {{ var('decision_window_days') }} x 24 hours. Somebody unknown has no orders to
-- look for and is left out until an identifier leads to a profile.
{{ config(enabled=has_tables_of_services()) }}
with decisions as (
    select
        cast(decisions.profile_id as {{ type_uuid() }}) as issued_profile_id,
        decisions.rule_key,
        decisions.is_holdout,
        decisions.decided_at,
        decisions.decision_id
    from {{ source('decide', 'decisions') }} as decisions
    where decisions.profile_id is not null and not decisions.is_degraded
),

-- An id that was ever issued is that of an identifier, which leads to today's profile.
named as (
    select
        {{ profile_id_of('identifier_type', 'identifier_value') }} as issued_profile_id,
        profile_id
    from {{ ref('identifiers') }}
    where profile_id is not null
),

ranked as (
    select
        named.profile_id,
        decisions.rule_key,
        decisions.is_holdout,
        decisions.decided_at,
        row_number() over (
            partition by named.profile_id, decisions.rule_key
            order by decisions.decided_at, decisions.decision_id
        ) as decision_number
    from decisions
    inner join named on decisions.issued_profile_id = named.issued_profile_id
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
            and orders.ordered_at >= first_decisions.decided_at
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
        {%- for arm, is_holdout in [('treated', 'false'), ('held_out', 'true')] %}
        sum(case when is_holdout = {{ is_holdout }} then 1 else 0 end) as {{ arm }}_count,
        sum(case when is_holdout = {{ is_holdout }} then is_converted else 0 end)
            as {{ arm }}_conversion_count,
        sum(case when is_holdout = {{ is_holdout }} then revenue_usd else 0 end)
            as {{ arm }}_revenue_usd,
        var_samp(case when is_holdout = {{ is_holdout }} then revenue_usd end)
            as {{ arm }}_revenue_variance{{ "," if not loop.last }}
        {%- endfor %}
    from outcomes
    group by rule_key
),

rates as (
    select
        *,
        {%- for arm in ['treated', 'held_out'] %}
        cast({{ arm }}_conversion_count as {{ dbt.type_float() }}) / nullif({{ arm }}_count, 0)
            as {{ arm }}_conversion_rate,
        {{ arm }}_revenue_usd / nullif({{ arm }}_count, 0) as {{ arm }}_revenue_per_profile_usd
        {{- "," if not loop.last }}
        {%- endfor %}
    from arms
),

-- Wilson's interval, 95%: it holds for few profiles and for rates near 0 and 1.
bounded as (
    select
        *,
        {%- for arm in ['treated', 'held_out'] %}
        {%- for side, sign in [('low', '-'), ('high', '+')] %}
        (
            {{ arm }}_conversion_rate + 1.9208 / nullif({{ arm }}_count, 0)
            {{ sign }} 1.96 * sqrt(
                (
                    {{ arm }}_conversion_rate * (1 - {{ arm }}_conversion_rate)
                    + 0.9604 / nullif({{ arm }}_count, 0)
                ) / nullif({{ arm }}_count, 0)
            )
        ) / (1 + 3.8416 / nullif({{ arm }}_count, 0)) as {{ arm }}_conversion_rate_{{ side }}{{ "," if not loop.last }}
        {%- endfor %}
        {{- "," if not loop.last }}
        {%- endfor %}
    from rates
),

-- The interval of the difference is Newcombe's for rates, made of Wilson's, and Welch's for revenue.
compared as (
    select
        *,
        treated_conversion_rate - held_out_conversion_rate as conversion_lift,
        sqrt(
            power(treated_conversion_rate - treated_conversion_rate_low, 2)
            + power(held_out_conversion_rate_high - held_out_conversion_rate, 2)
        ) as lift_below,
        sqrt(
            power(treated_conversion_rate_high - treated_conversion_rate, 2)
            + power(held_out_conversion_rate - held_out_conversion_rate_low, 2)
        ) as lift_above,
        treated_revenue_per_profile_usd - held_out_revenue_per_profile_usd as revenue_lift_usd,
        1.96 * sqrt(
            treated_revenue_variance / nullif(treated_count, 0)
            + held_out_revenue_variance / nullif(held_out_count, 0)
        ) as revenue_lift_margin_usd
    from bounded
)

select
    rule_key,
    treated_count,
    treated_conversion_count,
    treated_conversion_rate,
    treated_conversion_rate_low,
    treated_conversion_rate_high,
    treated_revenue_usd,
    treated_revenue_per_profile_usd,
    held_out_count,
    held_out_conversion_count,
    held_out_conversion_rate,
    held_out_conversion_rate_low,
    held_out_conversion_rate_high,
    held_out_revenue_usd,
    held_out_revenue_per_profile_usd,
    conversion_lift,
    conversion_lift - lift_below as conversion_lift_low,
    conversion_lift + lift_above as conversion_lift_high,
    revenue_lift_usd,
    revenue_lift_usd - revenue_lift_margin_usd as revenue_lift_low_usd,
    revenue_lift_usd + revenue_lift_margin_usd as revenue_lift_high_usd
from compared
