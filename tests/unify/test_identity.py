"""Who is one person. Each test has identifiers of its own in one shared history."""

import hashlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.unify.conftest import Warehouse

AS_OF = "2026-03-01T00:00:00Z"
EVENTS: list[dict[str, Any]] = []


def happened(**event: Any) -> None:
    """Add an event to the history; its time is the minute of its place in it."""
    minute = len(EVENTS)
    stamp = f"2026-02-{1 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z"
    EVENTS.append({"messageId": f"m{minute}", "timestamp": stamp, **event})


def viewed(**identifiers: str) -> None:
    happened(type="page", **identifiers)


def identified(email: str | None = None, phone: str | None = None, **identifiers: str) -> None:
    traits = {"email": email, "phone": phone}
    happened(
        type="identify",
        traits={key: value for key, value in traits.items() if value},
        **identifiers,
    )


def history(tell: Callable[[], None]) -> None:
    tell()


def own_profile(identifier_type: str, value: str) -> UUID:
    """The profile that an identifier names when it is the oldest of its component."""
    return UUID(hashlib.md5(f"{identifier_type}:{value}".encode()).hexdigest())  # noqa: S324 - an id


@history
def _joined() -> None:
    viewed(userId="joined-user")
    identified(email="joined@example.org")
    identified(email="joined@example.org", userId="joined-user")


def test_an_identify_that_joins_two_profiles_leaves_the_older(warehouse: Warehouse) -> None:
    older = own_profile("user_id", "joined-user")
    assert warehouse.profile_id("user_id", "joined-user") == older
    assert warehouse.profile_id("email", "joined@example.org") == older


@history
def _login() -> None:
    viewed(anonymousId="login-browser")
    viewed(anonymousId="login-browser", userId="login-user")


def test_what_happened_before_the_login_belongs_to_the_user(warehouse: Warehouse) -> None:
    events = warehouse.rows(
        "select profile_id from unify.events where anonymous_id = 'login-browser'"
    )
    assert [row["profile_id"] for row in events] == [
        own_profile("anonymous_id", "login-browser")
    ] * 2
    assert warehouse.profile("user_id", "login-user")["user_id"] == "login-user"


@history
def _shared_browser() -> None:
    viewed(anonymousId="shared-browser")
    viewed(anonymousId="shared-browser", userId="shared-ann")
    viewed(anonymousId="shared-browser", userId="shared-bob")


def test_two_users_of_one_browser_stay_two_profiles(warehouse: Warehouse) -> None:
    events = warehouse.rows(
        "select user_id, profile_id from unify.events"
        " where anonymous_id = 'shared-browser' order by occurred_at"
    )
    assert [(row["user_id"], row["profile_id"]) for row in events] == [
        (None, own_profile("anonymous_id", "shared-browser")),
        ("shared-ann", own_profile("user_id", "shared-ann")),
        ("shared-bob", own_profile("user_id", "shared-bob")),
    ]
    [browser] = warehouse.rows(
        "select is_blocked, user_count from unify.identifiers"
        " where identifier_value = 'shared-browser'"
    )
    assert browser == {"is_blocked": True, "user_count": 2}


@history
def _kiosk() -> None:
    viewed(anonymousId="kiosk", userId="kiosk-ann")
    viewed(anonymousId="kiosk", userId="kiosk-bob")


def test_a_shared_browser_without_events_of_its_own_is_no_profile(warehouse: Warehouse) -> None:
    assert warehouse.profile_id("anonymous_id", "kiosk") is None


@history
def _shared_email() -> None:
    for number in range(5):
        identified(email="family@example.org", userId=f"family-{number}")
    for number in range(6):
        identified(email="office@example.org", userId=f"office-{number}")


def test_users_who_share_an_email_are_one_person_up_to_the_limit(warehouse: Warehouse) -> None:
    family = {warehouse.profile_id("user_id", f"family-{number}") for number in range(5)}
    assert family == {own_profile("user_id", "family-0")}
    office = {warehouse.profile_id("user_id", f"office-{number}") for number in range(6)}
    assert len(office) == 6


@history
def _chain() -> None:
    for number in range(200):
        identified(
            email=f"chain-{number // 2}@example.org",
            anonymousId=f"chain-{(number + 1) // 2}",
        )


def test_a_chain_of_two_hundred_links_is_one_profile(warehouse: Warehouse) -> None:
    profiles = {warehouse.profile_id("anonymous_id", f"chain-{number}") for number in range(101)}
    assert profiles == {own_profile("email", "chain-0@example.org")}


@history
def _alias() -> None:
    viewed(anonymousId="alias-browser")
    viewed(userId="alias-old")
    happened(type="alias", previousId="alias-browser", userId="alias-new")
    happened(type="alias", previousId="alias-old", userId="alias-new")


def test_an_alias_joins_a_user_with_a_browser_or_with_another_user(warehouse: Warehouse) -> None:
    older = own_profile("anonymous_id", "alias-browser")
    assert warehouse.profile_id("user_id", "alias-old") == older
    assert warehouse.profile_id("user_id", "alias-new") == older


@history
def _alias_of_a_browser() -> None:
    viewed(anonymousId="a-aliased-browser")
    happened(type="alias", previousId="a-aliased-browser", userId="z-aliased-user")


def test_the_browser_of_an_alias_is_not_taken_for_a_user(warehouse: Warehouse) -> None:
    profile_id = warehouse.profile_id("user_id", "z-aliased-user")
    [found] = warehouse.rows(
        "select user_id, primary_identifier, anonymous_id from unify.profiles"
        " where profile_id = %s",
        profile_id,
    )
    assert found == {
        "user_id": "z-aliased-user",
        "primary_identifier": "z-aliased-user",
        "anonymous_id": "a-aliased-browser",
    }


@history
def _alias_and_limit() -> None:
    viewed(anonymousId="counted-browser", userId="counted-ann")
    happened(type="alias", previousId="counted-browser", userId="counted-bob")


def test_an_alias_does_not_count_towards_the_limit(warehouse: Warehouse) -> None:
    ann = warehouse.profile_id("user_id", "counted-ann")
    assert ann == warehouse.profile_id("user_id", "counted-bob")
    assert ann == warehouse.profile_id("anonymous_id", "counted-browser")


@history
def _blocked() -> None:
    viewed(anonymousId="blocked-ann", userId="null")
    viewed(anonymousId="blocked-bob", userId="null")
    identified(email="blocked@example.org", anonymousId="00000000-0000-0000-0000-000000000000")
    viewed(anonymousId="00000000-0000-0000-0000-000000000000", userId="NULL")
    viewed(anonymousId="  ", userId="")


def test_a_blocked_value_joins_nobody(warehouse: Warehouse) -> None:
    assert warehouse.profile_id("user_id", "null") is None
    assert warehouse.profile_id("anonymous_id", "blocked-ann") == own_profile(
        "anonymous_id", "blocked-ann"
    )
    assert warehouse.profile_id("anonymous_id", "blocked-bob") == own_profile(
        "anonymous_id", "blocked-bob"
    )


def test_an_event_that_identifies_nobody_is_kept_without_a_profile(warehouse: Warehouse) -> None:
    unowned = warehouse.rows(
        "select anonymous_id from unify.events where profile_id is null order by occurred_at"
    )
    assert unowned == [
        {"anonymous_id": "00000000-0000-0000-0000-000000000000"},
        {"anonymous_id": None},
    ]


@history
def _phone() -> None:
    identified(phone="+4915112345678", userId="phone-user")
    identified(phone="+4915112345678", anonymousId="phone-browser")


def test_a_phone_number_joins(warehouse: Warehouse) -> None:
    assert warehouse.profile_id("anonymous_id", "phone-browser") == own_profile(
        "user_id", "phone-user"
    )
    assert warehouse.profile("user_id", "phone-user")["phone"] == "+4915112345678"


@history
def _long() -> None:
    viewed(userId="long-" + "x" * 10_000)


def test_an_identifier_of_ten_thousand_characters_is_a_profile(warehouse: Warehouse) -> None:
    value = "long-" + "x" * 10_000
    assert warehouse.profile_id("user_id", value) == own_profile("user_id", value)


def test_every_profile_is_led_to_and_every_identifier_leads_to_one(warehouse: Warehouse) -> None:
    profiles = warehouse.rows("select profile_id from unify.profiles order by 1")
    led_to = warehouse.rows(
        "select distinct profile_id from unify.identifiers where profile_id is not null order by 1"
    )
    assert profiles == led_to
