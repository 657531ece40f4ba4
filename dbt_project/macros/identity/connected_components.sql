{#
    Materialization `connected_components`: the model selects pairs (node_a, node_b) of 64-bit keys;
    the table has one row per node of a pair: node, component. Two nodes share a component exactly
    when a chain of pairs joins them. The component is one of its own nodes; which one is arbitrary.

    Randomised contraction, after Bögeholz, Brand and Todor, "In-database connected component
    analysis" (ICDE 2020). In each round every node takes as its representative the least among
    itself and its neighbours under a fresh random order; pairs are rewritten to representatives and
    those inside one representative vanish. The expected number of rounds grows with the logarithm of
    the number of nodes, whatever the shape, chains included. It ends when no pair is left.
#}
{% materialization connected_components, default %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing_relation = load_cached_relation(this) -%}

    {{ run_hooks(pre_hooks) }}

    {%- set pairs = create_scratch_table(
        model.name ~ '__pairs_0', 'select distinct node_a, node_b from (' ~ sql ~ ') as pairs'
    ) -%}
    {%- set components = contracted(pairs, 1) -%}

    {% if existing_relation %}
        {% do adapter.drop_relation(existing_relation) %}
    {% endif %}
    {% call statement('main') -%}
        {{ get_create_table_as_sql(False, target_relation, 'select node, component from ' ~ components) }}
    {%- endcall %}
    {% do drop_scratch_table(components) %}
    {% do create_indexes(target_relation) %}
    {% do persist_docs(target_relation, model) %}

    {{ run_hooks(post_hooks) }}

    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{# A scratch table (node, component) for a scratch table of pairs, which it uses up. #}
{% macro contracted(pairs, round) %}
    {# Far beyond any expectation: each round removes a constant share of the nodes. #}
    {% if round > 200 %}
        {% do exceptions.raise_compiler_error(
            model.name ~ ': no end after 200 rounds of contraction; the pairs in ' ~ pairs
            ~ ' are not what this materialization expects (two 64-bit keys each, none null).'
        ) %}
    {% endif %}
    {% set order_key = random_number() %}
    {% set by_random_order = bitwise_xor('neighbours.neighbour', order_key) %}
    {% set itself_by_random_order = bitwise_xor('neighbours.node', order_key) %}
    {% set representatives = scratch_table(model.name ~ '__representatives_' ~ round) %}
    {% set fewer_pairs = scratch_table(model.name ~ '__pairs_' ~ round) %}
    {% set pairs_left = run_in_turn(
        making_scratch_table(representatives,
            'select neighbours.node, '
            ~ bitwise_xor('least(min(' ~ by_random_order ~ '), ' ~ itself_by_random_order ~ ')', order_key)
            ~ ' as component from (select node_a as node, node_b as neighbour from ' ~ pairs
            ~ ' union all select node_b, node_a from ' ~ pairs ~ ') as neighbours group by neighbours.node'
        )
        + making_scratch_table(fewer_pairs,
            'select distinct least(side_a.component, side_b.component) as node_a, '
            ~ 'greatest(side_a.component, side_b.component) as node_b from ' ~ pairs ~ ' as pairs '
            ~ 'inner join ' ~ representatives ~ ' as side_a on pairs.node_a = side_a.node '
            ~ 'inner join ' ~ representatives ~ ' as side_b on pairs.node_b = side_b.node '
            ~ 'where side_a.component <> side_b.component'
        )
        + ['drop table ' ~ pairs, 'select count(*) from ' ~ fewer_pairs]
    ).rows[0][0] %}
    {% if pairs_left == 0 %}
        {% do drop_scratch_table(fewer_pairs) %}
        {{ return(representatives) }}
    {% endif %}

    {% set components = contracted(fewer_pairs, round + 1) %}
    {% set composed = scratch_table(model.name ~ '__components_' ~ round) %}
    {% do run_in_turn(
        making_scratch_table(composed,
            'select representatives.node, '
            ~ 'coalesce(components.component, representatives.component) as component '
            ~ 'from ' ~ representatives ~ ' as representatives '
            ~ 'left join ' ~ components ~ ' as components on representatives.component = components.node'
        )
        + ['drop table ' ~ representatives, 'drop table ' ~ components]
    ) %}
    {{ return(composed) }}
{% endmacro %}


{# A random 64-bit number as a literal, from 16 bits at a time: Jinja allows no longer range. #}
{% macro random_number() %}
    {% set bits_16 = range(2 ** 16) %}
    {% set high = (bits_16 | random) * 2 ** 16 + (bits_16 | random) %}
    {% set low = (bits_16 | random) * 2 ** 16 + (bits_16 | random) %}
    {{ return('(' ~ (high * 2 ** 32 + low - 2 ** 63) ~ ')') }}
{% endmacro %}
