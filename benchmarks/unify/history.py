"""Generated history with what makes identity hard, the same for the same seed.

An event is mostly a visit of its own, which makes 10,000 new ones touch nearly as many people: the
worst that can arrive. With several events per visit they follow each other by a minute.

Of each 1,000 events about 120 are of visitors who never say who they are, some are links of chains
(10 to 200 identifiers, each known from its neighbours alone), and the rest are of users: activity
by a power law, one to five devices each, late logins, two addresses for some, devices shared in a
household or by everybody who passes, an office's common address, values that identify nobody.
"""

import math

import numpy as np
import pandas as pd
import psycopg

DAYS = 180
FIRST_DAY = "2026-01-01T00:00:00Z"
NOBODY = -1  # the event carries no such identifier
USELESS = -2  # it carries a value that seeds/blocked_identifiers.csv blocks
SHARED = 10**9  # devices and addresses that many users share are numbered from here
CHAINED = 10**10  # those of chains from here

# One event per number of a temporary table; what a number stands for is said here alone.
EVENTS = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email, phone,
     occurred_at, received_at, source, payload)
select
    'm' || number,
    (array['page', 'track', 'track', 'identify', 'track'])[kind],
    (array[null, 'Product Viewed', 'Product Added', null, 'Order Completed'])[kind],
    case when person >= 0 then 'user-' || person when person = -2 then 'anonymous' end,
    case
        when device >= 0 then md5(device::text)::uuid::text
        when device = -2 then '00000000-0000-0000-0000-000000000000'
    end,
    case
        when address >= 0 then 'person.' || address || '@example.org'
        when address = -2 then 'undefined'
    end,
    '+1555' || lpad(nullif(phone, -1)::text, 7, '0'),
    %(start)s::timestamptz + day * interval '1 day',
    now(),
    'benchmark',
    jsonb_build_object(
        'type', (array['page', 'track', 'track', 'identify', 'track'])[kind],
        'properties', case kind
            when 1 then jsonb_build_object('path', '/p/' || number %% 5000, 'title', number %% 5000)
            when 5 then jsonb_build_object('order_id', 'o' || number, 'total', number %% 300)
            else jsonb_build_object('sku', number %% 5000, 'price', number %% 300)
        end
    )
from numbered_events
order by number
"""


def generate(events: int, events_per_visit: int = 1, seed: int = 42) -> pd.DataFrame:
    """`events` rows in order of arrival: number, kind (1 to 5), day, numbered identifiers."""
    random = np.random.default_rng(seed)
    begun = math.ceil(events / events_per_visit)
    chains = _chains(random, count=max(5, begun // 20_000))
    unnamed = int(begun * 0.12)
    users = begun // 10
    active, devices = _users(random, users, begun - unnamed - len(chains))
    visitors = pd.DataFrame(
        {
            "kind": random.choice([1, 2], unnamed, p=[0.8, 0.2]),
            "day": random.random(unnamed) * DAYS,
            "device": devices + random.integers(0, users // 2, unnamed),
        }
    )
    history = pd.concat([active, visitors, chains], ignore_index=True)
    if events_per_visit > 1:
        history = _continued(random, history, events_per_visit)[:events]
    is_late = random.random(events) < 0.003
    arrival = history["day"] + random.random(events) * np.where(is_late, 3, 0.002)
    history = history.iloc[np.argsort(arrival.to_numpy(), kind="stable")]
    identifiers = ["person", "address", "phone", "device"]
    history[identifiers] = history[identifiers].fillna(NOBODY).astype(np.int64)
    return history.assign(number=np.arange(1, events + 1)).reset_index(drop=True)


def land(connection: psycopg.Connection[tuple[object, ...]], history: pd.DataFrame) -> None:
    """Put events of `generate` into raw.events, as one transaction of one source."""
    columns = ["number", "kind", "day", "person", "address", "phone", "device"]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "create temporary table numbered_events (number bigint, kind int, day float8,"
            " person bigint, address bigint, phone bigint, device bigint) on commit drop"
        )
        with cursor.copy(f"copy numbered_events ({', '.join(columns)}) from stdin csv") as copy:
            for first in range(0, len(history), 100_000):
                part = history.iloc[first : first + 100_000]
                copy.write(part.to_csv(columns=columns, header=False, index=False))
        cursor.execute(EVENTS, {"start": FIRST_DAY})
        note_landing(connection, len(history))


def note_landing(connection: psycopg.Connection[tuple[object, ...]], events: int) -> None:
    """Count events of the source `benchmark` as received and accepted, as the collector would."""
    connection.execute(
        "insert into raw.landings"
        " (received_on, source, received_count, accepted_count, rejected_count)"
        " values ((now() at time zone 'UTC')::date, 'benchmark', %(events)s, %(events)s, 0)",
        {"events": events},
    )


def _continued(
    random: np.random.Generator, visits: pd.DataFrame, events_per_visit: int
) -> pd.DataFrame:
    """Each row, and after it what else happened in the visit that it begins."""
    history = visits.loc[np.repeat(visits.index, events_per_visit)].reset_index(drop=True)
    place = np.tile(np.arange(events_per_visit), len(visits))
    later = random.choice([1, 2, 3, 5], len(history), p=[0.7, 0.17, 0.09, 0.04])
    return history.assign(
        kind=np.where(place > 0, later, history["kind"]), day=history["day"] + place / (24 * 60)
    )


def _chains(random: np.random.Generator, count: int) -> pd.DataFrame:
    """One row per link; every second identifier of a chain is a device, the others addresses."""
    lengths = random.integers(10, 201, count)
    lengths[0] = 200
    first_of_chain = np.repeat(np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths - 1)
    place = np.concatenate([np.arange(length - 1) for length in lengths])
    identifier = CHAINED + first_of_chain + place
    is_device_first = place % 2 == 0
    return pd.DataFrame(
        {
            "kind": 4,
            "day": random.random(len(place)) * DAYS,
            "device": np.where(is_device_first, identifier, identifier + 1),
            "address": np.where(is_device_first, identifier + 1, identifier),
        }
    )


def _users(random: np.random.Generator, users: int, events: int) -> tuple[pd.DataFrame, int]:
    """Their events, and how many devices there are."""
    device_counts = 1 + np.minimum(4, random.geometric(0.55, users) - 1)
    first_device = np.concatenate([[0], np.cumsum(device_counts)])
    devices = int(first_device[-1])
    addresses = random.choice([0, 1, 2], users, p=[0.15, 0.70, 0.15])
    has_phone = random.random(users) < 0.2
    joined_on = random.random(users) * DAYS * 5 / 6

    device_ids = np.arange(devices)
    households = random.choice(users, users // 100, replace=False)
    device_ids[first_device[households + 1] - 1] = first_device[
        random.integers(0, users, len(households))
    ]
    owner = np.repeat(np.arange(users), device_counts)
    login_on = joined_on[owner] + (DAYS - joined_on[owner]) * random.beta(0.6, 2.0, devices)
    login_on[random.random(devices) < 0.12] = np.inf

    def some(share: float) -> np.ndarray:
        return random.random(events) < share

    activity = np.cumsum(np.minimum(random.pareto(1.2, users) + 0.25, 400))
    user = np.searchsorted(activity / activity[-1], random.random(events)).clip(0, users - 1)
    day = joined_on[user] + (DAYS - joined_on[user]) * random.random(events)
    slot = first_device[user] + (device_counts[user] * random.random(events) ** 2).astype(np.int64)
    kind = random.choice([1, 2, 3, 4, 5], events, p=[0.68, 0.15, 0.08, 0.05, 0.04])
    is_logged_in = day > login_on[slot]
    says_who = (kind >= 4) & is_logged_in

    person = np.where(is_logged_in & some(0.92), user, NOBODY)
    has_address = ((says_who & some(0.8)) | (is_logged_in & some(0.05))) & (addresses[user] > 0)
    which = random.integers(0, 2, events) % np.maximum(addresses[user], 1)
    address = np.where(has_address, 2 * user + which, NOBODY)
    phone = np.where(says_who & has_phone[user] & some(0.5), user, NOBODY)
    device = np.where((person >= 0) & some(0.08), NOBODY, device_ids[slot])
    is_known = person >= 0
    kiosks, offices = max(4, events // 100_000), max(3, events // 500_000)
    device = np.where(is_known & some(0.012), SHARED + random.integers(0, kiosks, events), device)
    address = np.where(
        is_known & some(0.004), SHARED + random.integers(0, offices, events), address
    )
    person = np.where(~is_known & some(0.01), USELESS, person)
    device = np.where(is_known & some(0.005), USELESS, device)
    address = np.where(some(0.003), USELESS, address)
    columns = {"person": person, "address": address, "phone": phone, "device": device}
    return pd.DataFrame({"kind": kind, "day": day, **columns}), devices
