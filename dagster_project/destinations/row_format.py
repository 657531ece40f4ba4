"""Which columns of a member leave the warehouse, and in which form.

Advertising platforms match people by SHA-256 of an e-mail address or phone number, in lower-case
hexadecimal digits, and each prescribes what the text looks like before it is hashed:

`google` (Customer Match; https://developers.google.com/data-manager/api/devguides/concepts/formatting)
    e-mail: no blanks, lower case, and before @gmail.com or @googlemail.com no full stops, and
    nothing from a plus sign on;
    phone: E.164 with its plus sign.
`meta` (Custom Audiences; https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences)
    e-mail: no blanks around it, lower case; full stops stay;
    phone: digits only, with the country code, without plus sign and leading zeros.

A phone number without a country code matches nobody on either, so it is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

Hashing = Literal["none", "google", "meta"]
TRAITS = "traits."
OWNED_BY_MEMBERSHIP = {"added_at": "timestamp with time zone"}

EMAIL = {
    "google": r"""
        case
            when squeezed.email ~ '@(gmail|googlemail)\.com$'
                then replace(split_part(split_part(squeezed.email, '@', 1), '+', 1), '.', '')
                    || '@' || split_part(squeezed.email, '@', 2)
            else squeezed.email
        end""",
    "meta": r"lower(regexp_replace({value}, '^\s+|\s+$', '', 'g'))",
}
SQUEEZED = r"""
    (select {form} from (select lower(regexp_replace({value}, '\s', '', 'g')) as email) as squeezed)
"""
PHONE = {
    "google": r"""
        case when {value} ~ '^\s*\+' then '+' || regexp_replace({value}, '\D', '', 'g') end""",
    "meta": r"""
        case
            when {value} ~ '^\s*(\+|00)' then ltrim(regexp_replace({value}, '\D', '', 'g'), '0')
        end""",
}


class ColumnError(ValueError):
    """A column that a subscription asks for cannot be delivered; the message says which can."""


@dataclass(frozen=True)
class Column:
    """A column of a delivered row: its name, its type in PostgreSQL, and where it comes from.

    `expression` reads it from `unify.profiles` and `segment.audience_members`.
    """

    name: str
    type_name: str
    expression: sql.Composable

    @property
    def from_sent(self) -> sql.Composable:
        """The same value, from the jsonb `sent` of a row that was made by `row_json`."""
        return sql.SQL("(sent ->> {})::{}").format(sql.Literal(self.name), sql.SQL(self.type_name))


DEFAULT_FORMAT = tuple(
    Column(name, type_name, sql.Identifier(table, name))
    for name, type_name, table in (
        ("email", "text", "profiles"),
        ("user_id", "text", "profiles"),
        ("total_spend", "numeric", "profiles"),
        ("total_orders", "bigint", "profiles"),
        ("last_seen_at", "timestamp with time zone", "profiles"),
        ("profile_id", "uuid", "profiles"),
        ("added_at", "timestamp with time zone", "audience_members"),
    )
)
DEFAULT_COLUMNS = tuple(column.name for column in DEFAULT_FORMAT)


def read_columns(
    snapshot: psycopg.Connection[Any], names: Sequence[str], hashing: Hashing
) -> tuple[Column, ...]:
    """The columns by their names: of `unify.profiles`, `added_at`, or `traits.<key>`.

    Raises ColumnError for one that does not exist.
    """
    types = _profile_types(snapshot)
    known = types | OWNED_BY_MEMBERSHIP
    unknown = [name for name in names if name not in known and not _is_trait(name, types)]
    if unknown:
        raise ColumnError(
            f"There is no column {', '.join(unknown)} to deliver; seeds/activations.csv may name "
            f"{', '.join(sorted(known))}, and traits.<key>."
        )
    return tuple(_column(name, known, hashing) for name in names)


def row_json(columns: Iterable[Column]) -> sql.Composed:
    """A jsonb object of the columns, the form in which a row is remembered."""
    return sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(
            part for column in columns for part in (sql.Literal(column.name), column.expression)
        )
    )


def describe(mode: str, names: Sequence[str], hashing: Hashing) -> str:
    """Changes whenever a row would look different, or is to be delivered differently."""
    return f"{mode} {hashing} {' '.join(names)}"


def _is_trait(name: str, types: Mapping[str, str]) -> bool:
    return "traits" in types and name.startswith(TRAITS) and len(name) > len(TRAITS)


def _profile_types(snapshot: psycopg.Connection[Any]) -> dict[str, str]:
    rows = snapshot.execute(
        "select attname, format_type(atttypid, null) from pg_attribute"
        " where attrelid = 'unify.profiles'::regclass and attnum > 0 and not attisdropped"
    ).fetchall()
    return {str(name): str(type_name) for name, type_name in rows}


def _column(name: str, types: Mapping[str, str], hashing: Hashing) -> Column:
    if name in OWNED_BY_MEMBERSHIP:
        return Column(name, types[name], sql.Identifier("audience_members", name))
    if name not in types:
        key = name.removeprefix(TRAITS)
        return Column(name, "text", sql.SQL("profiles.traits ->> {}").format(sql.Literal(key)))
    value = sql.Identifier("profiles", name)
    if hashing != "none" and name in ("email", "phone"):
        return Column(name, "text", _hashed(name, value, hashing))
    return Column(name, types[name], value)


def _hashed(name: str, value: sql.Identifier, hashing: Hashing) -> sql.Composed:
    if name == "phone":
        form: sql.Composable = sql.SQL(PHONE[hashing]).format(value=value)
    elif hashing == "google":
        form = sql.SQL(SQUEEZED).format(form=sql.SQL(EMAIL["google"]), value=value)
    else:
        form = sql.SQL(EMAIL["meta"]).format(value=value)
    return sql.SQL("encode(sha256(convert_to(nullif({}, ''), 'UTF8')), 'hex')").format(form)
