"""Signatures of Standard Webhooks (https://www.standardwebhooks.com, specification 1.0).

The signed text is `<id>.<timestamp>.<body>`, by HMAC-SHA256 with the secret's bytes; a secret is
written `whsec_` and base64. While a secret is rotated each message carries a signature by each, and
a receiver is content with one that fits.
"""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


class SecretError(ValueError):
    """A signing secret cannot be used. The message never shows it."""


def read_secrets(text: str, name: str) -> tuple[bytes, ...]:
    """The secrets of the variable `name`: one, or the new and the old one, parted by a blank."""
    secrets = tuple(_decode(part, name) for part in text.split())
    if not secrets:
        raise SecretError(f"{name} is empty; {_advice(name)}")
    return secrets


def sign(secrets: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        for secret in secrets
    )


def verifies(
    secrets: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes, *, header: str
) -> bool:
    """Whether one of the signatures in the header `webhook-signature` is by one of the secrets."""
    expected = sign(secrets, message_id, timestamp, body).split()
    return any(
        hmac.compare_digest(good.encode(), given.encode())
        for good in expected
        for given in header.split()
    )


def _decode(text: str, name: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise SecretError(f"{name} is not base64 after {PREFIX}; {_advice(name)}") from None
    if len(secret) not in SECRET_BYTES:
        raise SecretError(f"{name} has {len(secret)} bytes; 24 to 64 are needed. {_advice(name)}")
    return secret


def _advice(name: str) -> str:
    return f'make one with: echo "{name}=whsec_$(openssl rand -base64 32)" >> .env'
