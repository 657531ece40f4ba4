{# Reading the definitions and their compiled form while a model is being rendered. Nothing comes back
   while dbt only parses, or before the table has been built. #}

{% macro rows_of(columns, relation, order) %}
    {% if not execute or not load_relation(relation) %}{{ return([]) }}{% endif %}
    {{ return(run_query('select ' ~ columns ~ ' from ' ~ relation ~ ' order by ' ~ order).rows) }}
{% endmacro %}


{# All audiences, because a disabled one may still be named by $audience. #}
{% macro defined_audiences(relation) %}
    {{ return(rows_of(
        'audience_id, audience_key, definition, definition_version, is_enabled', relation, 'audience_key'
    )) }}
{% endmacro %}


{# The compiled audiences that have errors, or those that have none. #}
{% macro compiled_audiences(relation, with_errors=false) %}
    {% set columns = 'audience_id, audience_key, definition_version, predicate, measures, sequences,'
        ~ ' events_read, horizons, errors' %}
    {% set audiences = [] %}
    {% for row in rows_of(columns, relation, 'audience_key') if (row.errors != '[]') == with_errors %}
        {% do audiences.append({
            'audience_id': row.audience_id,
            'audience_key': row.audience_key,
            'definition_version': row.definition_version,
            'predicate': row.predicate,
            'measures': fromjson(row.measures),
            'sequences': fromjson(row.sequences),
            'events_read': fromjson(row.events_read),
            'horizons': fromjson(row.horizons),
            'errors': fromjson(row.errors),
        }) %}
    {% endfor %}
    {{ return(audiences) }}
{% endmacro %}


{# The compiled audiences that a run evaluates for everybody, or those whose members it only corrects. #}
{% macro planned_audiences(planned, compiled, is_whole) %}
    {% set chosen = [] %}
    {% for row in rows_of('audience_id, is_whole', planned, 'audience_id') if row.is_whole == is_whole %}
        {% do chosen.append(row.audience_id) %}
    {% endfor %}
    {{ return(compiled_audiences(compiled) | selectattr('audience_id', 'in', chosen) | list) }}
{% endmacro %}


{# The rows of a relation that belong to the chosen profiles, to be named as a relation is. #}
{% macro only_of(relation, chosen_profiles) %}
    {{ return('(select owned.* from ' ~ relation ~ ' as owned inner join ' ~ chosen_profiles
        ~ ' as chosen on owned.profile_id = chosen.profile_id)') }}
{% endmacro %}
