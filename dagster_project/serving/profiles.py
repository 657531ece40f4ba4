"""GET /profiles and what hangs on one: what is known of somebody now."""

import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from dagster_project.serving.clock import Clock
from dagster_project.serving.database import Database, Row
from dagster_project.serving.errors import bad_request, json_response, not_found
from dagster_project.serving.identity import Identifiers, identifiers
from dagster_project.serving.overlay import COLUMNS, events_cte, person_ctes
from dagster_project.serving.rulebook import Rulebooks

Text = Annotated[str | None, Query(max_length=512)]
Cursor = Annotated[str | None, Query(max_length=200)]
Page = Annotated[int, Query(ge=1, le=1000)]

# $1 is where the page begins, $2 its size, $3 the instant. A profile that has become part of
# another one is shown in the place of that one only; so is a newcomer's identifier that no profile
# begins with.
EVERYBODY = f"""
with listed as (
    select everybody.*
    from (
        (
            select
                profiles.profile_id,
                null as identifier_type,
                null as identifier_value
            from decide.profiles
            where $1::uuid is null or profiles.profile_id > $1
            order by profiles.profile_id
            limit $2
        )
        union all
        select newcomers.*
        from decide.named_lately($1::uuid, $2::integer, newcomers_only => true) as newcomers
    ) as everybody
    order by everybody.profile_id
    limit $2
)

select
    listed.profile_id as place,
    {", ".join(f"(now.profile).{name}" for name in COLUMNS)}
from listed
left join lateral decide.profile_now(
    case when listed.identifier_type is null then listed.profile_id end,
    case when listed.identifier_type = 'user_id' then listed.identifier_value end,
    case when listed.identifier_type = 'email' then listed.identifier_value end,
    case when listed.identifier_type = 'phone' then listed.identifier_value end,
    case when listed.identifier_type = 'anonymous_id' then listed.identifier_value end,
    $3::timestamptz
) as now on (now.profile).profile_id = listed.profile_id
order by listed.profile_id
"""  # noqa: S608 - constants
# Who may belong to an audience now: who did at the last refresh, and whom something pending names.
# $1 is where the page begins, $2 its size, $3 the audience.
CANDIDATES = """
select candidates.*
from (
    select
        members.profile_id,
        null as identifier_type,
        null as identifier_value
    from segment.audiences
    inner join segment.audience_members as members
        on audiences.audience_id = members.audience_id
    where
        audiences.audience_key = $3::text
        and ($1::uuid is null or members.profile_id > $1)
    union
    select named.*
    from decide.named_lately($1::uuid, $2::integer, newcomers_only => false) as named
) as candidates
order by candidates.profile_id
limit $2
"""

EVENT_COLUMNS = (
    "event_id",
    "message_id",
    "type",
    "event_type",
    "user_id",
    "anonymous_id",
    "email",
    "properties",
    "context",
    "occurred_at",
    "received_at",
    "source",
)


# $8 and $9 are where the page begins, $10 its size: newest first.
EVENTS = f"""
with {person_ctes()}{events_cte(EVENT_COLUMNS)}
page as (
    select person_events.*
    from person_events
    where
        ($11::text is null or person_events.event_type = $11)
        and (
            $8::timestamptz is null
            or (person_events.occurred_at, person_events.event_id) < ($8::timestamptz, $9::uuid)
        )
    order by person_events.occurred_at desc, person_events.event_id desc
    limit $10
)

select
    profiles.profile_id as owner_id,
    page.*
from profiles
left join page on true
where profiles.profile_id is not null
order by page.occurred_at desc, page.event_id desc
"""  # noqa: S608 - constants


def profile_routes(database: Database, rulebooks: Rulebooks, clock: Clock) -> APIRouter:
    router = APIRouter()

    @router.get("/profiles")
    async def profiles(
        *,
        email: Text = None,
        user_id: Text = None,
        phone: Text = None,
        anonymous_id: Text = None,
        audience: Text = None,
        cursor: UUID | None = None,
        limit: Page = 50,
    ) -> Response:
        """Profiles by id, page by page: `next_cursor` of one page is the `cursor` of the next.

        With identifiers, the one profile that all of them name. A page of an audience may be
        shorter than `limit`: some of those who belonged at the last refresh may not any more.
        """
        given = {"email": email, "user_id": user_id, "phone": phone, "anonymous_id": anonymous_id}
        named = {kind: _plain(text, kind) for kind, text in given.items() if text is not None}
        key = None if audience is None else _plain(audience, "audience")
        if named:
            found = await _named(named, key)
            return json_response({"profiles": found, "next_cursor": None})
        if key is not None:
            return json_response(await _members(key, cursor, limit))
        rows = await database.rows(EVERYBODY, [cursor, limit, clock()])
        next_cursor = rows[-1]["place"] if len(rows) == limit else None
        found = [
            {name: row[name] for name in COLUMNS} for row in rows if row["profile_id"] is not None
        ]
        return json_response({"profiles": found, "next_cursor": next_cursor})

    async def _named(named: dict[str, str], audience: str | None) -> list[Row]:
        """The profile that every one of the identifiers names, if they agree on one."""
        found: dict[UUID, Row] = {}
        for kind, value in named.items():
            row = await _one(identifiers(**{kind: value}))  # type: ignore[arg-type]
            if row is None:
                return []
            found[row["profile_id"]] = row
        [row, *others] = found.values()
        if others or (audience is not None and audience not in _audience_keys(row)):
            return []
        return [{name: row[name] for name in COLUMNS}]

    async def _members(audience: str, cursor: UUID | None, limit: int) -> dict[str, Any]:
        """A page of who belongs to an audience now, each asked about as a decision would."""
        candidates = await database.rows(CANDIDATES, [cursor, limit, audience])
        found = []
        for candidate in candidates:
            place, kind = candidate["profile_id"], candidate["identifier_type"]
            named = {kind: candidate["identifier_value"]} if kind else {"profile_id": place}
            row = await _one(identifiers(**named))
            if row and row["profile_id"] == place and audience in _audience_keys(row):
                found.append({name: row[name] for name in COLUMNS})
        next_cursor = candidates[-1]["profile_id"] if len(candidates) == limit else None
        return {"profiles": found, "next_cursor": next_cursor}

    async def _one(who: Identifiers) -> Row | None:
        _book, rows = await rulebooks.ask("profile_statement", [*who.parameters(), clock(), True])
        return rows[0] if rows else None

    @router.get("/profiles/{profile_id}")
    async def profile(profile_id: UUID) -> Response:
        """One profile with its identifiers and audiences. An id from before a merge still works."""
        found = await _one(identifiers(profile_id=profile_id))
        if found is None:
            raise not_found(f"No profile has the id {profile_id}.")
        return json_response({name: value for name, value in found.items() if name != "stored_at"})

    @router.get("/profiles/{profile_id}/events")
    async def events(
        profile_id: UUID,
        event_type: Text = None,
        cursor: Cursor = None,
        limit: Page = 100,
    ) -> Response:
        """The events of a profile, newest first: `next_cursor` is the `cursor` of the next page."""
        kind = None if event_type is None else _plain(event_type, "event_type")
        place = _place(cursor) if cursor else (None, None)
        parameters = [*identifiers(profile_id=profile_id).parameters(), clock(), True]
        rows = await database.rows(EVENTS, [*parameters, *place, limit, kind])
        if not rows:
            raise not_found(f"No profile has the id {profile_id}.")
        found = [
            {name: row[name] for name in EVENT_COLUMNS}
            for row in rows
            if row["event_id"] is not None
        ]
        content = {
            "profile_id": rows[0]["owner_id"],
            "events": found,
            "next_cursor": _cursor(found[-1]) if len(found) == limit else None,
        }
        return json_response(content)

    return router


def _audience_keys(row: Row) -> set[str]:
    return {each["audience_key"] for each in row["audiences"]}


def _cursor(row: Row) -> str:
    place = msgspec.json.encode([row["occurred_at"], row["event_id"]])
    return base64.urlsafe_b64encode(place).decode()


def _place(cursor: str) -> tuple[datetime, UUID]:
    try:
        place = base64.urlsafe_b64decode(cursor.encode())
        return msgspec.json.decode(place, type=tuple[datetime, UUID])
    except (ValueError, msgspec.MsgspecError):
        raise bad_request("Give the next_cursor of the page before.", "cursor") from None


def _plain(text: str, name: str) -> str:
    if "\x00" in text:
        raise bad_request("A text may not hold a NUL character.", name)
    return text
