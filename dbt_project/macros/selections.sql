{# Selections of models that would lose rows, or hide events, are refused. Whole runs are none of them. #}

{# Hook before each model of collect and unify. A model whose meta says that it reads what is new is made
   of what its run looks at: afresh, in a run that does not look at everything, it would be that alone. #}
{% macro refuse_to_lose_rows() %}
    {% if execute and model.name == 'refresh_window' %}
        {% do refuse_gaps() %}
    {% elif execute and config.get('meta', {}).get('reads') == 'what is new' %}
        {# Over no events nothing is lost. #}
        {% if not is_incremental() and run_window().from_xid > 0 and not var('structure_only', false) %}
            {% do refuse_to_build(
                model.name,
                'this run reads what is new, and the model has '
                ~ ('to be built afresh' if load_relation(this) else 'no table') ~ ' from all there is',
                'Run `cdp refresh --full`; it knows what raw still holds'
            ) %}
        {% endif %}
    {% endif %}
    {{ return('') }}
{% endmacro %}

{# A run that is told to decide anew what it looks at, and then to build a model from one that an earlier
   run left, would build it from what that one looked at; and the watermark would say that all was. #}
{% macro refuse_gaps() %}
    {% for node in graph.nodes.values()
            if node.resource_type == 'model' and node.unique_id in selected_resources %}
        {% for parent in node.depends_on.nodes if parent in graph.nodes and parent not in selected_resources %}
            {% if works_by_window(graph.nodes[parent]) %}
                {% do refuse_to_build(
                    node.name,
                    'refresh_window was selected, and ' ~ graph.nodes[parent].name
                    ~ ', which it is made of, was not',
                    'Select that as well, or run `cdp refresh`'
                ) %}
            {% endif %}
        {% endfor %}
    {% endfor %}
{% endmacro %}

{# Of the tables that a node is made of and that each run makes anew, those that this run has not made yet. #}
{% macro tables_of_earlier_runs() %}
    {% set made_anew = [] %}
    {% for parent in model.depends_on.nodes if parent in graph.nodes %}
        {% set node = graph.nodes[parent] %}
        {% if node.resource_type == 'model' and node.fqn[1] == 'unify'
                and node.config.materialized == 'table' %}
            {% do made_anew.append("to_regclass('" ~ node.schema ~ '.' ~ node.alias ~ "')") %}
        {% endif %}
    {% endfor %}
    {# A table that is made later has the higher number. #}
    {{ return(run_query(
        'select relname::text from pg_class where oid in (' ~ made_anew | join(', ') ~ ") and oid < '"
        ~ ref('refresh_window') ~ "'::regclass order by 1"
    ).columns[0].values() | list) }}
{% endmacro %}

{% macro refuse_to_build(name, why, what_to_do) %}
    {% do exceptions.raise_compiler_error(name ~ ' cannot be built: ' ~ why ~ '. ' ~ what_to_do ~ '.') %}
{% endmacro %}
