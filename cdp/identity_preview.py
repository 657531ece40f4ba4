"""What other identity rules would do, before they do it: who would merge, split, and move.

It takes the step that a refresh takes when rules change, on the tables of the last refresh: judge
every identifier again, take apart the components that lose one, put together what may link. Only
profiles that are touched are looked at, in temporary tables of a transaction that is rolled back.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import errors

from cdp.errors import UserError
from cdp.identity_preview_sql import GROUPS, JUDGED, LEAVING, LOOSE, MEMBERS, NAMES, PAIRS, RULES
from cdp.identity_rules import IdentityRules

Kind = Literal["merge", "split", "rename", "dissolve"]
KINDS: tuple[Kind, ...] = ("merge", "split", "rename", "dissolve")


@dataclass(frozen=True)
class ProfileMove:
    """What would become of a profile.

    merge: it goes into `successors[0]`, which others share. split: its identifiers are parted among
    `successors`. rename: it lives on as `successors[0]`. dissolve: no identifier of it is left.
    """

    profile_id: UUID
    primary_identifier: str
    kind: Kind
    successors: tuple[UUID, ...]

    def listed_successors(self, most: int) -> str:
        """The ids of so many successors, and how many more there are."""
        listed = ", ".join(str(each) for each in self.successors[:most])
        more = len(self.successors) - most
        return f"{listed} and {more:,} more" if more > 0 else listed


@dataclass(frozen=True)
class IdentityPreview:
    """`moves` by kind and identifier; `members` counts audience members among them, by kind."""

    as_of: datetime
    profile_count: int
    moves: tuple[ProfileMove, ...]
    members: Mapping[str, Mapping[Kind, int]]

    @property
    def counts(self) -> dict[Kind, int]:
        """Profiles by what would become of them."""
        counted = Counter(move.kind for move in self.moves)
        return {kind: counted[kind] for kind in KINDS}


def preview_identity(connection: psycopg.Connection[Any], rules: IdentityRules) -> IdentityPreview:
    """Compare the profiles of the last refresh with what `rules` would make of the same events.

    Writes nothing. Raises UserError when nothing was refreshed yet or a pattern is no expression.
    """
    with connection.transaction(force_rollback=True):
        try:
            return _previewed(connection, rules)
        except errors.UndefinedTable:
            raise UserError("The warehouse is not built yet; run `cdp refresh`.") from None


def _previewed(connection: psycopg.Connection[Any], rules: IdentityRules) -> IdentityPreview:
    row = connection.execute(
        "select (select as_of from decide.watermark), (select count(*) from unify.profiles)"
    ).fetchone()
    if row is None or row[0] is None:
        raise UserError("The warehouse is not built yet; run `cdp refresh`.")
    connection.execute(RULES)
    _state(connection, rules)
    connection.execute(JUDGED)
    connection.execute(LOOSE)
    moves = _moves(connection)
    members: defaultdict[str, Counter[Kind]] = defaultdict(Counter)
    kinds = {move.profile_id: move.kind for move in moves}
    for audience_key, profile_id in connection.execute(MEMBERS, [list(kinds)]):
        members[audience_key][kinds[profile_id]] += 1
    return IdentityPreview(row[0], row[1], moves, {key: members[key] for key in sorted(members)})


def _state(connection: psycopg.Connection[Any], rules: IdentityRules) -> None:
    for each in rules.blocked:
        try:
            with connection.transaction():
                connection.execute("select '' ~ %s", [each.pattern])
        except errors.InvalidRegularExpression as error:
            raise UserError(
                f"seeds/blocked_identifiers.csv: the pattern {each.pattern!r} is no regular "
                f"expression: {error.diag.message_primary}. Escape what is meant literally with \\."
            ) from None
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into next_types values (%s, %s, %s)",
            [(each.identifier_type, each.priority, each.max_user_ids) for each in rules.types],
        )
        cursor.executemany(
            "insert into next_blocked values (%s, %s, %s)",
            [(each.identifier_type, each.pattern, each.reason) for each in rules.blocked],
        )


def _moves(connection: psycopg.Connection[Any]) -> tuple[ProfileMove, ...]:
    pairs: list[tuple[int, int]] = connection.execute(PAIRS).fetchall()
    standing = list({key for pair in pairs for key in pair})
    groups: list[tuple[int, UUID | None, UUID]] = connection.execute(GROUPS, [standing]).fetchall()
    leaving: list[tuple[UUID, UUID | None]] = connection.execute(LEAVING).fetchall()
    successors = _successors(groups, pairs, leaving)
    kinds = dict(_kinds(successors))
    names = dict(connection.execute(NAMES, [list(kinds)]).fetchall())
    moves = [
        ProfileMove(profile_id, names[profile_id], kind, tuple(sorted(successors[profile_id])))
        for profile_id, kind in kinds.items()
    ]
    return tuple(sorted(moves, key=lambda move: (KINDS.index(move.kind), move.primary_identifier)))


def _successors(
    groups: Iterable[tuple[int, UUID | None, UUID]],
    pairs: Iterable[tuple[int, int]],
    leaving: Iterable[tuple[UUID, UUID | None]],
) -> dict[UUID, set[UUID]]:
    """By today's profile the profiles that its identifiers would be in.

    `groups` go from the oldest to the youngest, so the first of a component names it.
    """
    component = components(pairs)
    names: dict[int, UUID] = {}
    successors: defaultdict[UUID, set[UUID]] = defaultdict(set)
    for key, profile_id, own_name in groups:
        name = names.setdefault(component.get(key, key), own_name)
        if profile_id is not None:
            successors[profile_id].add(name)
    for profile_id, own_profile in leaving:
        successors[profile_id] |= {own_profile} if own_profile else set()
    return dict(successors)


def _kinds(successors: Mapping[UUID, set[UUID]]) -> Iterator[tuple[UUID, Kind]]:
    heirs = Counter(after for afters in successors.values() for after in afters)
    for profile_id, afters in successors.items():
        if not afters:
            yield profile_id, "dissolve"
        elif len(afters) > 1:
            yield profile_id, "split"
        elif afters != {profile_id}:
            yield profile_id, "merge" if heirs[next(iter(afters))] > 1 else "rename"


def components(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """A representative of its connected component for each node of a pair."""
    parents: dict[int, int] = {}

    def root(node: int) -> int:
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = parents[parent]
            node = parent
        return node

    for node_a, node_b in pairs:
        parents[root(node_a)] = root(node_b)
    return {node: root(node) for node in list(parents)}
