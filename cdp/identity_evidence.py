"""Why identifiers are one profile: the links between them, and the event that made each."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import RawCursor
from psycopg.rows import dict_row

from cdp.identity_rules import IDENTIFIER_TYPES
from cdp.phone_numbers import e164

# Far more than a person has. Beyond it the oldest are shown: somebody wants to see what went wrong.
MOST_SHOWN = 1000


# `members` selects identifier_key of what is asked about, `profile` SQL of the profile's id.
_STATEMENT = """
with recursive members as (
    {members}
),

shown as (
    select identifiers.*
    from unify.identifiers
    inner join members on identifiers.identifier_key = members.identifier_key
    order by identifiers.first_seen_at, identifiers.identifier_type, identifiers.identifier_value
    limit {most}
),

links as (
    select links.node_a, links.node_b, links.kind, links.landing
    from unify.int_identifiers__linked as links
    inner join shown on links.node_a = shown.identifier_key
    union
    select links.node_a, links.node_b, links.kind, links.landing
    from unify.int_identifiers__linked as links
    inner join shown on links.node_b = shown.identifier_key
    order by landing, node_a, node_b
    limit {most}
),

concerned as (
    select shown.identifier_key from shown
    union
    select links.node_a from links
    union
    select links.node_b from links
),

judged as (
    select
        identifiers.*,
        case
            when identifiers.is_blocked
                then coalesce(
                    (
                        select blocked.reason
                        from unify.blocked_identifiers as blocked
                        where
                            blocked.identifier_type in (identifiers.identifier_type, '*')
                            and lower(identifiers.identifier_value)
                            ~ ('^(' || blocked.pattern || ')$')
                        limit 1
                    ),
                    'seen with ' || identifiers.user_count || ' user_ids, more than '
                    || types.max_user_ids
                )
        end as why_blocked,
        jsonb_build_object(
            'identifier_type', identifiers.identifier_type,
            'identifier_value', identifiers.identifier_value
        ) as identifier
    from concerned
    inner join unify.identifiers on concerned.identifier_key = identifiers.identifier_key
    left join unify.identifier_types as types
        on identifiers.identifier_type = types.identifier_type
),

told_identifiers as (
    select coalesce(
        jsonb_agg(
            judged.identifier || jsonb_build_object(
                'profile_id', judged.profile_id,
                'first_seen_at', judged.first_seen_at,
                'user_count', judged.user_count,
                'is_blocked', judged.is_blocked,
                'why_blocked', judged.why_blocked
            )
            order by judged.first_seen_at, judged.identifier_type, judged.identifier_value
        ),
        '[]'
    ) as identifiers
    from judged
),

told_links as (
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'identifiers', jsonb_build_array(side_a.identifier, side_b.identifier),
                'kind', links.kind,
                'joins', not (side_a.is_blocked or side_b.is_blocked),
                'event', case when events.event_id is not null then jsonb_build_object(
                    'event_id', events.event_id,
                    'message_id', events.message_id,
                    'type', events.type,
                    'event_type', events.event_type,
                    'source', events.source,
                    'occurred_at', events.occurred_at
                ) end
            )
            order by links.landing, side_a.identifier_type, side_a.identifier_value,
                side_b.identifier_type, side_b.identifier_value
        ),
        '[]'
    ) as links
    from links
    inner join judged as side_a on links.node_a = side_a.identifier_key
    inner join judged as side_b on links.node_b = side_b.identifier_key
    left join collect.stg_events as events
        on
            div(links.landing, 10000000000000000000)::bigint = events.xid
            and mod(links.landing, 10000000000000000000)::bigint = events.seq
),

-- What became this profile, and what became that before; earlier runs only, so that the walk ends.
past as (
    select changes.*
    from unify.profile_changes as changes
    where changes.profile_id = {profile}
    union
    select changes.*
    from past
    inner join unify.profile_changes as changes
        on past.old_profile_id = changes.profile_id and changes.run < past.run
),

told_past as (
    select
        coalesce(
            jsonb_agg(distinct past.old_profile_id) filter (
                where not exists (
                    select 1 from unify.profiles where profiles.profile_id = past.old_profile_id
                )
            ),
            '[]'
        ) as past_ids,
        coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'old_profile_id', past.old_profile_id,
                    'profile_id', past.profile_id,
                    'kind', past.kind,
                    'evidence', past.evidence,
                    'changed_at', past.changed_at
                )
                order by past.run, past.old_profile_id, past.profile_id
            ),
            '[]'
        ) as changes
    from past
)

select
    {profile} as profile_id,
    (select count(*) from members) as identifier_count,
    told_identifiers.identifiers,
    told_links.links,
    told_past.past_ids,
    told_past.changes
from told_identifiers
cross join told_links
cross join told_past
"""


def evidence_sql(profile: str) -> str:
    """SQL of one row about the profile whose id the SQL `profile` gives.

    profile_id, identifier_count; identifiers, links, past_ids and changes (all JSON). Beside the
    profile's own identifiers those are listed that events carried with them and that do not link.
    """
    members = f"select identifier_key from unify.identifiers where profile_id = {profile}"  # noqa: S608 - SQL of ours
    return _STATEMENT.format(members=members, profile=profile, most=MOST_SHOWN)


# The same about one identifier that leads to no profile. $1: its key.
OF_ONE = _STATEMENT.format(members="select $1::bigint", profile="null::uuid", most=MOST_SHOWN)

# The profile that an id leads to as of the last refresh; $1 may have been merged, split or renamed
# since. An id is made of an identifier, so it leads to whom that belongs; where nobody has it any
# more, to what became of the profile. Later runs only, so that the walk ends.
TODAY = """
with recursive successors as (
    select $1::uuid as profile_id, null::bigint as run
    union
    select changes.profile_id, changes.run
    from successors
    inner join unify.profile_changes as changes
        on successors.profile_id = changes.old_profile_id
    where successors.run is null or changes.run > successors.run
)

select candidates.profile_id
from (
    select case when run is null then 1 else 3 end as weakness, run, profile_id
    from successors
    union all
    select 2 as weakness, null as run, identifiers.profile_id
    from decide.identifiers
    where identifiers.named_profile_id = $1::uuid
) as candidates
inner join unify.profiles on candidates.profile_id = profiles.profile_id
order by candidates.weakness, candidates.run desc, candidates.profile_id
limit 1
"""

# $1: a value; $2: its type, or null; $3 and $4: the value as an e-mail and as a phone are kept.
FOUND = """
select identifier_key, identifier_type, identifier_value, profile_id
from unify.identifiers
where
    identifier_value = any(array[$1::text, $3::text, $4::text])
    and identifier_value = case identifier_type
        when 'email' then $3::text
        when 'phone' then $4::text
        else $1::text
    end
    and ($2::text is null or identifier_type = $2)
order by array_position(array['user_id', 'email', 'phone', 'anonymous_id'], identifier_type)
"""


def explain(connection: psycopg.Connection[Any], identifier: str) -> list[dict[str, Any]]:
    """What is known of each profile that `identifier` leads to, as `evidence_sql` has it.

    `identifier` is a value, a value after its type (`email:ada@example.org`), or the id of a
    profile. One that leads to no profile is explained by itself, its profile_id None.
    """
    cursor = RawCursor(connection, row_factory=dict_row)
    if profile_id := _uuid_of(identifier):
        today = cursor.execute(TODAY, [profile_id]).fetchone()
        if today:
            return [_of_profile(cursor, today["profile_id"])]
    identifier_type, value = _parts(identifier)
    value = value.strip()
    found = cursor.execute(FOUND, [value, identifier_type, value.lower(), e164(value)]).fetchall()
    return [_explained(cursor, each) for each in _distinct(found)]


def _explained(cursor: RawCursor[dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    if found["profile_id"] is not None:
        return _of_profile(cursor, found["profile_id"])
    return _only_row(cursor, OF_ONE, found["identifier_key"])


def _of_profile(cursor: RawCursor[dict[str, Any]], profile_id: UUID) -> dict[str, Any]:
    return _only_row(cursor, evidence_sql("$1::uuid"), profile_id)


def _only_row(cursor: RawCursor[dict[str, Any]], query: str, parameter: Any) -> dict[str, Any]:
    [row] = cursor.execute(query.encode(), [parameter]).fetchall()
    return row


def _distinct(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each profile, and all that lead to none."""
    chosen = {row["profile_id"] or row["identifier_key"]: row for row in reversed(found)}
    return [row for row in found if chosen[row["profile_id"] or row["identifier_key"]] is row]


def _parts(identifier: str) -> tuple[str | None, str]:
    named = re.fullmatch(rf"({'|'.join(IDENTIFIER_TYPES)}):(.+)", identifier, re.DOTALL)
    return (named[1], named[2]) if named else (None, identifier)


def _uuid_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
