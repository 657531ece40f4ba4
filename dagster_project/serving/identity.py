"""Finding a profile by what a caller knows of it."""

# Parameters $1 to $4: profile_id, user_id, email, anonymous_id, each null when not given. The
# strongest that is known wins, an id over an e-mail over a browser. A profile id that was merged,
# split or renamed leads to what became of it; later runs only, so that the walk ends.
IDENTIFIED = """
    select candidates.profile_id
    from (
        select 1 as weakness, profiles.profile_id
        from unify.profiles
        where profiles.profile_id = $1::uuid
        union all
        select 2 as weakness, successor.profile_id
        from (
            with recursive successors as (
                select changes.profile_id, changes.run
                from unify.profile_changes as changes
                where changes.old_profile_id = $1::uuid
                union
                select changes.profile_id, changes.run
                from successors
                inner join unify.profile_changes as changes
                    on successors.profile_id = changes.old_profile_id
                where changes.run > successors.run
            )

            select successors.profile_id
            from successors
            inner join unify.profiles on successors.profile_id = profiles.profile_id
            order by successors.run desc, successors.profile_id
            limit 1
        ) as successor
        union all
        select 3 as weakness, identifiers.profile_id
        from unify.identifiers
        where identifiers.identifier_type = 'user_id' and identifiers.identifier_value = $2::text
        union all
        select 4 as weakness, identifiers.profile_id
        from unify.identifiers
        where identifiers.identifier_type = 'email' and identifiers.identifier_value = $3::text
        union all
        select 5 as weakness, identifiers.profile_id
        from unify.identifiers
        where
            identifiers.identifier_type = 'anonymous_id' and identifiers.identifier_value = $4::text
    ) as candidates
    where candidates.profile_id is not null
    order by candidates.weakness
    limit 1
"""


def normal_id(value: str | int | None) -> str | None:
    """As ingest lands it: a number as its text, trimmed; empty is absent."""
    return str(value).strip() or None if value is not None else None


def normal_email(email: str | None) -> str | None:
    """As ingest lands it: trimmed and lower-cased."""
    return email.strip().lower() if email else None
