{# Every difference between the warehouses that the rule language needs, one macro each. An attribute of
   kind json is {base, keys}; its keys are read as attribute['keys'], because a mapping has a method keys. #}

{% macro text_literal(value) %}{{ return(adapter.dispatch('text_literal')(value)) }}{% endmacro %}
{% macro number_literal(value) %}{{ return(adapter.dispatch('number_literal')(value)) }}{% endmacro %}
{% macro instant_literal(value) %}{{ return(adapter.dispatch('instant_literal')(value)) }}{% endmacro %}
{% macro binary_order(text) %}{{ return(adapter.dispatch('binary_order')(text)) }}{% endmacro %}
{% macro text_matches(text, pattern, options) %}
    {{ return(adapter.dispatch('text_matches')(text, pattern, options)) }}
{% endmacro %}
{% macro whole_days_ago(instant, days) %}{{ return(adapter.dispatch('whole_days_ago')(instant, days)) }}{% endmacro %}
{% macro hours_ago(instant, hours) %}{{ return(adapter.dispatch('hours_ago')(instant, hours)) }}{% endmacro %}
{% macro strictly_earlier(instant) %}{{ return(adapter.dispatch('strictly_earlier')(instant)) }}{% endmacro %}
{% macro bucket_of_10000(split, profile_id) %}
    {{ return(adapter.dispatch('bucket_of_10000')(split, profile_id)) }}
{% endmacro %}
{% macro matching_ids(cases) %}{{ return(adapter.dispatch('matching_ids')(cases)) }}{% endmacro %}
{% macro array_contains(array, item) %}{{ return(adapter.dispatch('array_contains')(array, item)) }}{% endmacro %}
{% macro json_compare(attribute, operator, operand) %}
    {{ return(adapter.dispatch('json_compare')(attribute, operator, operand)) }}
{% endmacro %}
{% macro json_matches(attribute, pattern, options) %}
    {{ return(adapter.dispatch('json_matches')(attribute, pattern, options)) }}
{% endmacro %}
{% macro json_exists(attribute) %}{{ return(adapter.dispatch('json_exists')(attribute)) }}{% endmacro %}
{% macro json_is_null(attribute) %}{{ return(adapter.dispatch('json_is_null')(attribute)) }}{% endmacro %}
{% macro json_size(attribute) %}{{ return(adapter.dispatch('json_size')(attribute)) }}{% endmacro %}
{% macro json_number(attribute) %}{{ return(adapter.dispatch('json_number')(attribute)) }}{% endmacro %}
{% macro json_items(attribute, alias) %}{{ return(adapter.dispatch('json_items')(attribute, alias)) }}{% endmacro %}
{% macro json_item(alias) %}{{ return(adapter.dispatch('json_item')(alias)) }}{% endmacro %}
{% macro attribute_json(attribute) %}{{ return(adapter.dispatch('attribute_json')(attribute)) }}{% endmacro %}


{# PostgreSQL. jsonpath's lax mode is MongoDB's rule: an array matches when one of its items does, and
   values of another type do not compare. `@@` unwraps an array once; `? (@ == ...)` would twice. #}

{% macro postgres__text_literal(value) %}{{ return("'" ~ value | replace("'", "''") ~ "'") }}{% endmacro %}
{% macro postgres__number_literal(value) %}{{ return(tojson(value)) }}{% endmacro %}
{% macro postgres__instant_literal(value) %}
    {{ return("timestamptz '" ~ (value if 'T' in value else value ~ 'T00:00:00Z') ~ "'") }}
{% endmacro %}
{% macro postgres__binary_order(text) %}{{ return('(' ~ text ~ ' collate "C")') }}{% endmacro %}
{# (?p): a dot does not match a line break, as in RE2 and in jsonpath. #}
{% macro postgres__text_matches(text, pattern, options) %}
    {{ return(text ~ ' ~ ' ~ text_literal('(?' ~ options ~ 'p)' ~ pattern)) }}
{% endmacro %}
{# Hours, not days: a day of the session's time zone may have 23 or 25. #}
{% macro postgres__whole_days_ago(instant, days) %}
    {{ return("date_trunc('day', " ~ instant ~ ", 'UTC') - interval '" ~ days * 24 ~ " hours'") }}
{% endmacro %}
{% macro postgres__hours_ago(instant, hours) %}
    {{ return(instant ~ " - interval '" ~ hours ~ " hours'") }}
{% endmacro %}
{% macro postgres__strictly_earlier(instant) %}
    {{ return(instant ~ " range between unbounded preceding and interval '1 microsecond' preceding") }}
{% endmacro %}
{% macro postgres__bucket_of_10000(split, profile_id) %}
    {{ return("mod(('x' || left(md5(" ~ text_literal(split ~ ':') ~ ' || ' ~ profile_id
        ~ "::text), 8))::bit(32)::bigint, 10000)") }}
{% endmacro %}
{% macro postgres__matching_ids(cases) %}
    {{ return('array_remove(array[\n            ' ~ cases | join(',\n            ') ~ '\n        ]::bigint[], null)') }}
{% endmacro %}
{% macro postgres__array_contains(array, item) %}
    {{ return('(' ~ item ~ ' = any(' ~ array ~ '))') }}
{% endmacro %}

{% macro postgres_json_path(keys) %}
    {% set steps = ['$'] %}
    {% for key in keys %}{% do steps.append(tojson(key)) %}{% endfor %}
    {{ return(steps | join('.')) }}
{% endmacro %}
{% macro postgres_json_value(attribute) %}
    {% set keys = [] %}
    {% for key in attribute['keys'] %}{% do keys.append(text_literal(key)) %}{% endfor %}
    {{ return('(' ~ attribute.base ~ ' #> array[' ~ keys | join(', ') ~ '])' if keys else attribute.base) }}
{% endmacro %}
{% macro postgres_json_test(attribute, test) %}
    {{ return(attribute.base ~ ' @@ ' ~ text_literal(postgres_json_path(attribute['keys']) ~ test)) }}
{% endmacro %}

{% macro postgres__json_compare(attribute, operator, operand) %}
    {% if operand is mapping or is_list(operand) %}
        {{ return(postgres_json_value(attribute) ~ ' = ' ~ text_literal(tojson(operand)) ~ '::jsonb') }}
    {% endif %}
    {% set literal = tojson(operand) %}
    {% set test = {
        '$eq': ' == ' ~ literal, '$gt': ' > ' ~ literal, '$gte': ' >= ' ~ literal,
        '$lt': ' < ' ~ literal, '$lte': ' <= ' ~ literal,
        '$contains': ' like_regex ' ~ literal ~ ' flag "q"',
        '$starts_with': ' starts with ' ~ literal,
        '$ends_with': ' like_regex ' ~ tojson(modules.re.escape(operand ~ '') ~ '$'),
    }[operator] %}
    {{ return(postgres_json_test(attribute, test)) }}
{% endmacro %}
{% macro postgres__json_matches(attribute, pattern, options) %}
    {{ return(postgres_json_test(attribute, ' like_regex ' ~ tojson(pattern) ~ (' flag "i"' if options else ''))) }}
{% endmacro %}
{% macro postgres__json_exists(attribute) %}
    {{ return(attribute.base ~ ' @? ' ~ text_literal(postgres_json_path(attribute['keys']))) }}
{% endmacro %}
{% macro postgres__json_is_null(attribute) %}
    {{ return('(' ~ json_exists(attribute) ~ ') is not true or ' ~ postgres_json_test(attribute, ' == null')) }}
{% endmacro %}
{% macro postgres__json_size(attribute) %}
    {% set value = postgres_json_value(attribute) %}
    {{ return('(case when jsonb_typeof(' ~ value ~ ") = 'array' then jsonb_array_length(" ~ value ~ ') end)') }}
{% endmacro %}
{% macro postgres__json_number(attribute) %}
    {% set value = postgres_json_value(attribute) %}
    {{ return('(case when jsonb_typeof(' ~ value ~ ") = 'number' then (" ~ value ~ ')::numeric end)') }}
{% endmacro %}
{% macro postgres__json_items(attribute, alias) %}
    {% set value = postgres_json_value(attribute) %}
    {{ return('jsonb_array_elements(case when jsonb_typeof(' ~ value ~ ") = 'array' then " ~ value
        ~ ' end) as ' ~ alias ~ '(value)') }}
{% endmacro %}
{% macro postgres__json_item(alias) %}{{ return(alias ~ '.value') }}{% endmacro %}
{% macro postgres__attribute_json(attribute) %}
    {{ return(postgres_json_value(attribute) if attribute.kind == 'json' else 'to_jsonb(' ~ attribute.sql ~ ')') }}
{% endmacro %}


{# BigQuery. The same meaning, spelt out: the items of an array, or the value itself. #}

{% macro bigquery__text_literal(value) %}
    {{ return("'" ~ value | replace('\\', '\\\\') | replace("'", "\\'")
        | replace('\n', '\\n') | replace('\r', '\\r') ~ "'") }}
{% endmacro %}
{% macro bigquery__number_literal(value) %}{{ return("numeric '" ~ tojson(value) ~ "'") }}{% endmacro %}
{% macro bigquery__instant_literal(value) %}
    {{ return("timestamp '" ~ (value if 'T' in value else value ~ 'T00:00:00Z') ~ "'") }}
{% endmacro %}
{% macro bigquery__binary_order(text) %}{{ return(text) }}{% endmacro %}
{% macro bigquery__text_matches(text, pattern, options) %}
    {% set prefix = '(?' ~ options ~ ')' if options else '' %}
    {{ return('regexp_contains(' ~ text ~ ', ' ~ text_literal(prefix ~ pattern) ~ ')') }}
{% endmacro %}
{% macro bigquery__whole_days_ago(instant, days) %}
    {{ return('timestamp_sub(timestamp_trunc(' ~ instant ~ ', day), interval ' ~ days ~ ' day)') }}
{% endmacro %}
{% macro bigquery__hours_ago(instant, hours) %}
    {{ return('timestamp_sub(' ~ instant ~ ', interval ' ~ hours ~ ' hour)') }}
{% endmacro %}
{% macro bigquery__strictly_earlier(instant) %}
    {{ return('unix_micros(' ~ instant ~ ') range between unbounded preceding and 1 preceding') }}
{% endmacro %}
{% macro bigquery__bucket_of_10000(split, profile_id) %}
    {{ return("mod(cast(concat('0x', left(to_hex(md5(concat(" ~ text_literal(split ~ ':') ~ ', ' ~ profile_id
        ~ "))), 8)) as int64), 10000)") }}
{% endmacro %}
{% macro bigquery__matching_ids(cases) %}
    {{ return('array(select audience_id from unnest([\n            ' ~ cases | join(',\n            ')
        ~ '\n        ]) as audience_id where audience_id is not null)') }}
{% endmacro %}
{% macro bigquery__array_contains(array, item) %}
    {{ return('(' ~ item ~ ' in unnest(' ~ array ~ '))') }}
{% endmacro %}

{% macro bigquery_json_value(attribute) %}
    {% set steps = [attribute.base] %}
    {% for key in attribute['keys'] %}{% do steps.append('[' ~ text_literal(key) ~ ']') %}{% endfor %}
    {{ return(steps | join) }}
{% endmacro %}
{# Whether the condition on `item` holds for an item of the array, or for the value itself. #}
{% macro bigquery_any_item(attribute, condition) %}
    {% set value = bigquery_json_value(attribute) %}
    {{ return('exists (select 1 from unnest(if(json_type(' ~ value ~ ") = 'array', json_query_array(" ~ value
        ~ '), [' ~ value ~ '])) as item where ' ~ condition ~ ')') }}
{% endmacro %}
{% macro bigquery_typed_item(kind) %}
    {% set reader = {
        'boolean': 'lax_bool(item)',
        'number': 'safe_cast(json_value(item) as numeric)',
        'text': 'json_value(item)',
    }[kind] %}
    {{ return("if(json_type(item) = '" ~ ('string' if kind == 'text' else kind) ~ "', " ~ reader ~ ', null)') }}
{% endmacro %}
{% macro bigquery__json_compare(attribute, operator, operand) %}
    {% if operand is mapping or is_list(operand) %}
        {{ return('to_json_string(' ~ bigquery_json_value(attribute) ~ ') = to_json_string(parse_json('
            ~ text_literal(tojson(operand)) ~ '))') }}
    {% endif %}
    {% set kind = 'boolean' if operand is boolean else 'number' if operand is number else 'text' %}
    {% set item = {'kind': kind, 'sql': bigquery_typed_item(kind)} %}
    {{ return(bigquery_any_item(attribute, scalar_compare(item, operator, operand))) }}
{% endmacro %}
{% macro bigquery__json_matches(attribute, pattern, options) %}
    {{ return(bigquery_any_item(attribute, text_matches(bigquery_typed_item('text'), pattern, options))) }}
{% endmacro %}
{% macro bigquery__json_exists(attribute) %}{{ return(bigquery_json_value(attribute) ~ ' is not null') }}{% endmacro %}
{% macro bigquery__json_is_null(attribute) %}
    {{ return('coalesce(json_type(' ~ bigquery_json_value(attribute) ~ "), 'null') = 'null'") }}
{% endmacro %}
{% macro bigquery__json_size(attribute) %}
    {% set value = bigquery_json_value(attribute) %}
    {{ return('if(json_type(' ~ value ~ ") = 'array', array_length(json_query_array(" ~ value ~ ')), null)') }}
{% endmacro %}
{% macro bigquery__json_number(attribute) %}
    {% set value = bigquery_json_value(attribute) %}
    {{ return('if(json_type(' ~ value ~ ") = 'number', safe_cast(json_value(" ~ value ~ ') as numeric), null)') }}
{% endmacro %}
{% macro bigquery__json_items(attribute, alias) %}
    {{ return('unnest(json_query_array(' ~ bigquery_json_value(attribute) ~ ')) as ' ~ alias) }}
{% endmacro %}
{% macro bigquery__json_item(alias) %}{{ return(alias) }}{% endmacro %}
{% macro bigquery__attribute_json(attribute) %}
    {{ return(bigquery_json_value(attribute) if attribute.kind == 'json' else 'to_json(' ~ attribute.sql ~ ')') }}
{% endmacro %}
