{# What a JSON value is. Everything that reaches SQL passes one of these first: Jinja cannot catch an
   error, and JSON has fewer types than Jinja has tests (a boolean is a number, a mapping is a sequence). #}

{% macro is_list(value) %}
    {{ return(value is sequence and value is not string and value is not mapping) }}
{% endmacro %}

{# No NUL and no lone surrogate: PostgreSQL's text cannot hold them. #}
{% macro is_text(value) %}
    {{ return(value is string and modules.re.search('[\\x00\\ud800-\\udfff]', value) is none) }}
{% endmacro %}

{# Python's JSON also reads NaN, Infinity and 1e400; none of them is a number here. #}
{% macro is_number(value) %}
    {{ return(value is number and value is not boolean
        and modules.re.fullmatch('-?[0-9]{1,30}(\\.[0-9]+)?(e[-+]?[0-9]{1,2})?', tojson(value)) is not none) }}
{% endmacro %}

{% macro is_day_count(value) %}
    {{ return(value is integer and value is not boolean and 1 <= value <= 36500) }}
{% endmacro %}

{% macro day_count_wanted() %}{{ return('expected a whole number of days from 1 to 36500') }}{% endmacro %}

{# A date, or a date and time with its zone, that exists in the calendar. #}
{% macro is_instant(value) %}
    {% set day = '([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' %}
    {% set time = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?' %}
    {% set zone = '(Z|[-+](0[0-9]|1[0-3]):[0-5][0-9])' %}
    {% set parts = modules.re.fullmatch(day ~ '(T' ~ time ~ zone ~ ')?', value) if value is string else none %}
    {% if parts is none %}{{ return(false) }}{% endif %}
    {% set year, month, day_of_month = parts.group(1) | int, parts.group(2) | int, parts.group(3) | int %}
    {% set is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) %}
    {% set last_day = {2: 29 if is_leap else 28, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31) %}
    {{ return(1 < year < 9999 and day_of_month <= last_day) }}
{% endmacro %}

{# An object whose keys are operators, against one that is a value to compare with. #}
{% macro is_operators(value) %}
    {{ return(value is mapping and value | length > 0 and (value | first)[:1] == '$') }}
{% endmacro %}

{% macro is_plain_json(value, levels) %}
    {% if levels == 0 %}
        {{ return(false) }}
    {% elif value is mapping %}
        {% for key, item in value.items() %}
            {% if not is_text(key) or key[:1] == '$' or not is_plain_json(item, levels - 1) %}
                {{ return(false) }}
            {% endif %}
        {% endfor %}
        {{ return(true) }}
    {% elif is_list(value) %}
        {% for item in value if not is_plain_json(item, levels - 1) %}{{ return(false) }}{% endfor %}
        {{ return(true) }}
    {% endif %}
    {{ return(value is none or value is boolean or is_text(value) or is_number(value)) }}
{% endmacro %}


{# Only regular expressions that PostgreSQL and RE2 read alike and that neither refuses: an invalid one
   would stop every audience. No back-references and no lazy repeats, so none backtracks either; counted
   repeats multiply to 1000 at most, which is RE2's limit. #}
{% macro regex_problem(pattern) %}
    {% if not is_text(pattern) or not pattern or pattern | length > 500 %}
        {{ return('expected a regular expression of 1 to 500 characters') }}
    {% endif %}
    {% set punctuation = '\\\\[!-/:-@\\[-^`{-~]' %}
    {% set escape = '\\\\[dwsDWS]|' ~ punctuation %}
    {% set in_brackets = '[^\\]\\[\\\\-]-[^\\]\\[\\\\-]|\\\\[dws]|' ~ punctuation ~ '|[^\\]\\[\\\\-]' %}
    {% set repeat = '[*+?]|\\{[0-9]{1,2}(?:,[0-9]{1,2})?\\}' %}
    {% set tokens = modules.re.findall(
        escape ~ '|\\[\\^?(?:' ~ in_brackets ~ ')+-?\\]|\\(\\?:|' ~ repeat ~ '|[^\\\\\\[\\]{}]', pattern
    ) %}
    {% set state = namespace(depth=0, repeats=1, can_repeat=false, is_wrong=tokens | join != pattern) %}
    {% for token in tokens %}
        {% set repeats = token in ['*', '+', '?'] or token[:1] == '{' %}
        {% set opens = token in ['(', '(?:'] %}
        {% set state.depth = state.depth + (1 if opens else -1 if token == ')' else 0) %}
        {% if state.depth < 0 or (repeats and not state.can_repeat) %}{% set state.is_wrong = true %}{% endif %}
        {% set ranges = modules.re.findall('([^\\[])-([^\\]])', token) if token[:1] == '[' else [] %}
        {% set bounds = modules.re.findall('[0-9]+', token) if token[:1] == '{' else [] %}
        {% for first, last in ranges if first > last %}{% set state.is_wrong = true %}{% endfor %}
        {% if bounds %}
            {% set state.repeats = state.repeats * ([1, bounds | last | int] | max) %}
            {% if bounds | first | int > bounds | last | int %}{% set state.is_wrong = true %}{% endif %}
        {% endif %}
        {% set state.can_repeat = not repeats and not opens and token not in ['|', '^', '$'] %}
    {% endfor %}
    {{ return('not a regular expression that every warehouse reads alike'
        if state.is_wrong or state.depth != 0 or state.repeats > 1000 else '') }}
{% endmacro %}


{# Parsed JSON, or none where the text is not JSON, is nested without end, or gives a key twice (JSON's
   parsers keep the last one, so a condition would be dropped without a word). #}
{% macro parse_rule(text) %}
    {% if not text or text | length > 100000 or text.count('[') + text.count('{') > 500 %}
        {{ return(none) }}
    {% endif %}
    {% set rule = fromjson(text) %}
    {% set written = modules.re.findall('"(?:[^"\\\\]|\\\\.)*"(\\s*:)?', text) | select | list | length %}
    {{ return(rule if rule is mapping and key_count(rule) == written else none) }}
{% endmacro %}

{% macro key_count(value) %}
    {% set total = namespace(keys=0) %}
    {% if value is mapping %}
        {% for item in value.values() %}{% set total.keys = total.keys + 1 + key_count(item) %}{% endfor %}
    {% elif is_list(value) %}
        {% for item in value %}{% set total.keys = total.keys + key_count(item) %}{% endfor %}
    {% endif %}
    {{ return(total.keys) }}
{% endmacro %}
