"""Phone numbers as they are stored: the same where they land and where they are looked up."""

import functools

import phonenumbers

LONGEST = 64


@functools.lru_cache(maxsize=10_000)
def e164(number: str) -> str:
    """The number in E.164 where it names its country and is possible, else as it was sent."""
    if len(number) > LONGEST:
        return number
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_possible_number(parsed):
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
