"""`cdp webhook-receiver`: see what a webhook destination is told."""

from collections import Counter
from typing import Annotated, Any

import typer

from cdp.cli.terminal import console
from cdp.errors import UserError
from cdp.settings import read_secret
from cdp.webhook_receiver import WebhookReceiver


def webhook_receiver(
    secret: Annotated[str, typer.Option(help="Variable that holds the signing secret.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 3003,
    status: Annotated[int, typer.Option(help="What to answer, to try failures.")] = 200,
) -> None:
    """Receive webhooks on this machine until Ctrl-C: check the signatures, print what came."""
    # Dagster's part of the code holds the signatures; only this command needs them here.
    from dagster_project.destinations.webhook_signature import (  # noqa: PLC0415
        SecretError,
        read_secrets,
        verifies,
    )

    try:
        secrets = read_secrets(read_secret(secret) or "", secret)
    except SecretError as error:
        raise UserError(str(error)) from None

    def verify(message_id: str, timestamp: int, body: bytes, header: str) -> bool:
        return verifies(secrets, message_id, timestamp, body, header=header)

    with WebhookReceiver(
        "127.0.0.1", port, verify=verify, on_message=_show, status=status
    ) as receiver:
        console.print(
            f"Receiving at http://127.0.0.1:{receiver.server_port}/, until Ctrl-C. Deliveries come "
            "here with CDP_PRIVATE_WEBHOOKS=true."
        )
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            console.print("Stopped.")


def _show(message: dict[str, Any], is_repeated: bool) -> None:
    data = message.get("data") or {}
    rows = data.get("rows") or []
    changes = Counter(row["change"] for row in rows)
    told = ", ".join(f"{count:,} {change}" for change, count in sorted(changes.items()))
    repeated = " (again)" if is_repeated else ""
    console.print(f"{data.get('audience_key')}: {told}{repeated}", markup=False)
    for row in rows[:3]:
        console.print(f"  {row['change']} {row['row']}", markup=False, soft_wrap=True)
    if len(rows) > 3:
        console.print(f"  and {len(rows) - 3:,} more")
