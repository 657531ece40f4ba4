-- No decision or campaign rule has a mistake, and the last one always holds, so that every request gets
-- an answer.
{%- set audiences = rows_of('audience_key', ref('audience_catalog'), 'audience_key') %}
select
    cast(null as {{ dbt.type_string() }}) as rule_key,
    cast(null as {{ dbt.type_string() }}) as path,
    cast(null as {{ dbt.type_string() }}) as message
from (select 1 as placeholder) as no_rows
where false
{%- for seed in [ref('decision_rules'), ref('campaign_rules')] %}
{%- set rules = rows_of('rule_key, condition', seed, 'priority') %}
{%- for rule in rules %}
{%- set errors = compile_decision_rule(
    rule.condition, audiences | map(attribute='audience_key') | list, as_of()
).errors %}
{%- for error in errors %}
union all
select {{ text_literal(rule.rule_key) }}, {{ text_literal(error.path) }}, {{ text_literal(error.message) }}
{%- endfor %}
{%- if loop.last and rule.condition %}
union all
select {{ text_literal(rule.rule_key) }}, '', 'the last rule may not have a condition'
{%- endif %}
{%- endfor %}
{%- endfor %}
