"""Who is one person, worked out with networkx from the events alone: what the models must find."""

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import networkx

from cdp.identity_rules import IdentityRules

Identifier = tuple[str, str]
Event = Mapping[str, Any]


@dataclass
class People:
    """`profile_of` an identifier (None: it leads to none), and `owner_of` a message."""

    profile_of: dict[Identifier, UUID | None] = field(default_factory=dict)
    owner_of: dict[str, UUID | None] = field(default_factory=dict)


def work_out(landed: Iterable[Event], rules: IdentityRules) -> People:
    """`landed` are Segment-shaped events in the order of landing, repeated ones included."""
    events: dict[str, Event] = {}
    for event in landed:
        events.setdefault(event["messageId"], event)
    types = {each.identifier_type: each for each in rules.types}

    age: dict[Identifier, int] = {}
    users: defaultdict[Identifier, set[Identifier]] = defaultdict(set)
    for number, event in enumerate(events.values()):
        carried = list(_carried(event))
        for identifier in [*carried, *_named(event)]:
            age.setdefault(identifier, number)
        for user in carried:
            if user[0] == "user_id" and not _is_blocked(user, rules):
                for other in carried:
                    if other != user:
                        users[other].add(user)

    def is_over(identifier: Identifier) -> bool:
        limit = types[identifier[0]].max_user_ids
        return limit is not None and len(users[identifier]) > limit

    graph: networkx.Graph[Identifier] = networkx.Graph()
    linking = {each for each in age if not _is_blocked(each, rules) and not is_over(each)}
    graph.add_nodes_from(linking)
    for event in events.values():
        carried = list(_carried(event))
        links = list(itertools.combinations(carried, 2))
        links += [(carried[0], named) for named in _named(event)]
        graph.add_edges_from(link for link in links if linking.issuperset(link))

    names: dict[Identifier, UUID] = {each: _own_profile(each) for each in age}
    for component in networkx.connected_components(graph):
        oldest = min(component, key=lambda each: (age[each], types[each[0]].priority, each[1]))
        names |= dict.fromkeys(component, _own_profile(oldest))

    people = People()
    for message_id, event in events.items():
        owners = [each for each in _carried(event) if not _is_blocked(each, rules)]
        owners = [each for each in owners if each[0] == "user_id"] or owners
        owners.sort(key=lambda each: (is_over(each), types[each[0]].priority))
        people.owner_of[message_id] = names[owners[0]] if owners else None
    owned = set(people.owner_of.values())
    for identifier in age:
        leads = not _is_blocked(identifier, rules) and names[identifier] in owned
        people.profile_of[identifier] = names[identifier] if leads else None
    return people


def _carried(event: Event) -> Iterator[Identifier]:
    """The identifiers of an event, its user_id first."""
    traits = (event.get("traits") or {}) | ((event.get("context") or {}).get("traits") or {})
    for identifier_type, value in (
        ("user_id", event.get("userId")),
        ("email", traits.get("email")),
        ("phone", traits.get("phone")),
        ("anonymous_id", event.get("anonymousId")),
    ):
        if value:
            yield identifier_type, value


def _named(event: Event) -> list[Identifier]:
    """What an alias call says that its user is: an id of either kind."""
    if event["type"] != "alias" or not event.get("userId"):
        return []
    named = [("user_id", event["previousId"]), ("anonymous_id", event["previousId"])]
    return [each for each in named if each != ("user_id", event["userId"])]


def _is_blocked(identifier: Identifier, rules: IdentityRules) -> bool:
    return any(
        rule.identifier_type in (identifier[0], "*")
        and re.fullmatch(rule.pattern, identifier[1].lower())
        for rule in rules.blocked
    )


def _own_profile(identifier: Identifier) -> UUID:
    text = ":".join(identifier)
    return UUID(hashlib.md5(text.encode()).hexdigest())  # noqa: S324 - an id
