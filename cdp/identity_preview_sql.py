"""The steps of `cdp.identity_preview` in SQL, each on what the one before left."""

RULES = """
create temporary table next_types (
    identifier_type text, priority bigint, max_user_ids bigint
) on commit drop;
create temporary table next_blocked (identifier_type text, pattern text, reason text) on commit drop
"""

# One row per identifier whose judgement would change.
JUDGED = """
create temporary table next_judged on commit drop as
with patterns as (
    select
        next_types.identifier_type,
        '^((' || string_agg(next_blocked.pattern, ')|(' order by next_blocked.pattern) || '))$'
            as pattern
    from next_types
    inner join next_blocked
        on next_blocked.identifier_type in (next_types.identifier_type, '*')
    group by next_types.identifier_type
),

matched as (
    select
        judged.*,
        next_types.max_user_ids as next_limit,
        coalesce(lower(judged.identifier_value) ~ patterns.pattern, false) as next_is_blocked
    from unify.int_identifiers__judged as judged
    inner join next_types on judged.identifier_type = next_types.identifier_type
    left join patterns on judged.identifier_type = patterns.identifier_type
),

-- Only user_ids that are none, or are some again, change how many an identifier was seen with.
differences as (
    select
        case when links.node_a = users.identifier_key then links.node_b else links.node_a end
            as identifier_key,
        sum(case when users.next_is_blocked then -1 else 1 end) as difference
    from matched as users
    inner join unify.int_identifiers__linked as links
        on users.identifier_key in (links.node_a, links.node_b)
        and users.identifier_key = links.user_key
    where
        users.identifier_type = 'user_id'
        and users.next_is_blocked <> users.is_blocked
        and links.kind = 'carried'
    group by 1
),

judged as (
    select
        matched.*,
        coalesce(
            matched.user_count + coalesce(differences.difference, 0) > matched.next_limit, false
        ) as next_is_over_limit
    from matched
    left join differences on matched.identifier_key = differences.identifier_key
)

select
    identifier_key,
    is_linking as was_linking,
    next_is_blocked as is_blocked,
    not next_is_blocked and not next_is_over_limit as is_linking
from judged
where
    next_is_blocked <> is_blocked
    or (not next_is_blocked and next_is_over_limit <> is_over_limit)
"""

# One row per identifier whose component has to be found again: it may link now, or one drops out of
# its component, or (other priorities) another member may be the one that names it.
LOOSE = """
create temporary table next_loose on commit drop as
select identifier_key from next_judged where is_linking
union
select members.identifier_key
from unify.int_identifiers__resolved as members
inner join unify.int_identifiers__judged as judged
    on members.identifier_key = judged.identifier_key
left join next_judged on members.identifier_key = next_judged.identifier_key
where
    coalesce(next_judged.is_linking, judged.is_linking)
    and (
        exists (
            select 1 from next_types
            inner join unify.identifier_types as types
                on next_types.identifier_type = types.identifier_type
            where next_types.priority <> types.priority
        )
        or members.root_key in (
            select resolved.root_key
            from next_judged
            inner join unify.int_identifiers__resolved as resolved
                on next_judged.identifier_key = resolved.identifier_key
            where next_judged.was_linking and not next_judged.is_linking
        )
    );
create index on next_loose (identifier_key);
analyze next_judged, next_loose
"""

# Pairs of groups that are linked; a group is a loose identifier, or a component that stays whole.
PAIRS = """
select distinct
    coalesce(loose_a.identifier_key, resolved_a.root_key),
    coalesce(loose_b.identifier_key, resolved_b.root_key)
from (
    select links.node_a, links.node_b
    from next_loose inner join unify.int_identifiers__linked as links
        on next_loose.identifier_key = links.node_a
    union
    select links.node_a, links.node_b
    from next_loose inner join unify.int_identifiers__linked as links
        on next_loose.identifier_key = links.node_b
) as links
inner join unify.int_identifiers__judged as judged_a on links.node_a = judged_a.identifier_key
inner join unify.int_identifiers__judged as judged_b on links.node_b = judged_b.identifier_key
inner join unify.int_identifiers__resolved as resolved_a on links.node_a = resolved_a.identifier_key
inner join unify.int_identifiers__resolved as resolved_b on links.node_b = resolved_b.identifier_key
left join next_judged as next_a on links.node_a = next_a.identifier_key
left join next_judged as next_b on links.node_b = next_b.identifier_key
left join next_loose as loose_a on links.node_a = loose_a.identifier_key
left join next_loose as loose_b on links.node_b = loose_b.identifier_key
where
    coalesce(next_a.is_linking, judged_a.is_linking)
    and coalesce(next_b.is_linking, judged_b.is_linking)
"""

# Groups from the oldest to the youngest: key, the profile they are in today (where it is one that
# somebody can see), the profile that they name.
GROUPS = """
select
    judged.identifier_key,
    profiles.profile_id,
    md5(judged.identifier_type || ':' || judged.identifier_value)::uuid
from unify.int_identifiers__judged as judged
inner join next_types on judged.identifier_type = next_types.identifier_type
inner join unify.int_identifiers__resolved as resolved
    on judged.identifier_key = resolved.identifier_key
left join unify.profiles on resolved.profile_id = profiles.profile_id
where
    judged.identifier_key in (select identifier_key from next_loose)
    or judged.identifier_key = any(%s)
order by judged.landing, next_types.priority, judged.identifier_value collate "C"
"""

# Identifiers that would link no more: the profile they leave, and the one of their own that they
# keep when they are over their limit and events carry nothing better.
LEAVING = """
select
    profiles.profile_id,
    case
        when not next_judged.is_blocked and exists (
            select 1
            from unify.int_anchors__seen as anchors
            where
                next_judged.identifier_key
                in (
                    anchors.user_id_key, anchors.email_key, anchors.phone_key,
                    anchors.anonymous_id_key
                )
                and not exists (
                    select 1
                    from unify.int_identifiers__judged as others
                    left join next_judged as next_others
                        on others.identifier_key = next_others.identifier_key
                    where
                        others.identifier_key in (
                            anchors.user_id_key, anchors.email_key, anchors.phone_key,
                            anchors.anonymous_id_key
                        )
                        and coalesce(next_others.is_linking, others.is_linking)
                )
        )
            then md5(judged.identifier_type || ':' || judged.identifier_value)::uuid
    end
from next_judged
inner join unify.int_identifiers__judged as judged
    on next_judged.identifier_key = judged.identifier_key
inner join unify.int_identifiers__resolved as resolved
    on next_judged.identifier_key = resolved.identifier_key
inner join unify.profiles on resolved.profile_id = profiles.profile_id
where not next_judged.is_linking
"""

NAMES = "select profile_id, primary_identifier from unify.profiles where profile_id = any(%s)"
MEMBERS = """
select audiences.audience_key, members.profile_id
from segment.audience_members as members
inner join segment.audiences on members.audience_id = audiences.audience_id
where members.profile_id = any(%s)
"""
