"""Who a caller asks about: identifiers, read as ingest reads them."""

import uuid
from dataclasses import dataclass

from cdp.identity_evidence import TODAY
from cdp.phone_numbers import e164

# The profile as of the last refresh, for what is recorded or exported about it. Parameters $1 to
# $4: profile_id, user_id, email, anonymous_id, each null when not given. The strongest that is
# known wins, an id over an e-mail over a browser. A profile id that was merged, split or renamed
# leads to what became of it.
IDENTIFIED = f"""
    select candidates.profile_id
    from (
        select 1 as weakness, today.profile_id
        from ({TODAY}) as today
        union all
        select 2 as weakness, identifiers.profile_id
        from unify.identifiers
        where identifiers.identifier_type = 'user_id' and identifiers.identifier_value = $2::text
        union all
        select 3 as weakness, identifiers.profile_id
        from unify.identifiers
        where identifiers.identifier_type = 'email' and identifiers.identifier_value = $3::text
        union all
        select 4 as weakness, identifiers.profile_id
        from unify.identifiers
        where
            identifiers.identifier_type = 'anonymous_id' and identifiers.identifier_value = $4::text
    ) as candidates
    where candidates.profile_id is not null
    order by candidates.weakness
    limit 1
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Identifiers:
    """What is known of somebody, each as it is stored, None when not given.

    `profile_id` may be one from before a merge, split or rename.
    """

    profile_id: uuid.UUID | None = None
    user_id: str | None = None
    email: str | None = None
    phone: str | None = None
    anonymous_id: str | None = None

    @property
    def are_given(self) -> bool:
        return any(self.parameters())

    def parameters(self) -> list[object]:
        """The first five parameters of decide.profile_now."""
        return [self.profile_id, self.user_id, self.email, self.phone, self.anonymous_id]


def identifiers(
    *,
    profile_id: uuid.UUID | None = None,
    user_id: str | int | None = None,
    email: str | None = None,
    phone: str | None = None,
    anonymous_id: str | int | None = None,
) -> Identifiers:
    """As they are stored: trimmed, numbers as text, e-mail in lower case, phone in E.164."""
    trimmed_phone = normal_id(phone)
    return Identifiers(
        profile_id=profile_id,
        user_id=normal_id(user_id),
        email=normal_email(email),
        phone=e164(trimmed_phone) if trimmed_phone else None,
        anonymous_id=normal_id(anonymous_id),
    )


def normal_id(value: str | int | None) -> str | None:
    """As ingest lands it: a number as its text, trimmed; empty is absent."""
    return str(value).strip() or None if value is not None else None


def normal_email(email: str | None) -> str | None:
    """As ingest lands it: trimmed and lower-cased."""
    return (email.strip().lower() or None) if email else None
