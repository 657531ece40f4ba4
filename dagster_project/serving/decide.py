"""POST /decide: which experience, and on what evidence."""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from cdp.settings import Settings
from dagster_project.serving.body import read_json
from dagster_project.serving.clock import Clock, utc_now
from dagster_project.serving.database import AWAY, SLOW, WAIT_SECONDS, Database, Row
from dagster_project.serving.decision_log import Decision, DecisionLog
from dagster_project.serving.errors import RequestError, bad_request, json_response
from dagster_project.serving.identity import Identifiers, identifiers
from dagster_project.serving.metrics import Metrics
from dagster_project.serving.rulebook import Rulebook, Rulebooks

# As ingest takes them: a number is its text, white space around does not count, empty is absent.
Identifier = Annotated[str, msgspec.Meta(max_length=512)] | int
Text = Annotated[str, msgspec.Meta(max_length=512)]
# How long an answer that may be degraded waits for a connection: quick ones give theirs back.
DEGRADE_AFTER_SECONDS = 0.5


class DecideRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Who, by any identifiers that are known, and in which situation or situations."""

    user_id: Identifier | None = None
    email: Text | None = None
    phone: Text | None = None
    anonymous_id: Identifier | None = None
    profile_id: uuid.UUID | None = None
    context: dict[str, Any] | None = None
    contexts: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=100)] | None = (
        None
    )


class Decider:
    """Decides with the rules as they are stored now, on what is known now.

    With `batch`, connections kept for it, an answer that takes too long or finds all connections
    taken is given from the batch alone and says so.
    """

    def __init__(
        self,
        rulebooks: Rulebooks,
        decision_log: DecisionLog,
        metrics: Metrics,
        *,
        clock: Clock = utc_now,
        batch: Database | None = None,
    ) -> None:
        self._rulebooks = rulebooks
        self._log = decision_log
        self._metrics = metrics
        self._clock = clock
        self._batch = batch
        self._wait_seconds = DEGRADE_AFTER_SECONDS if batch else WAIT_SECONDS

    async def decide(
        self, who: Identifiers, contexts: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """One answer per context. Raises RequestError (503) while it cannot be told."""
        encoded = [msgspec.json.encode(context).decode() for context in contexts]
        parameters = [*who.parameters(), self._clock(), True, f"[{','.join(encoded)}]"]
        try:
            book, rows = await self._rulebooks.ask(
                "decision_statement", parameters, wait_seconds=self._wait_seconds
            )
        except RequestError as error:
            if not self._batch or error.code not in (SLOW, AWAY):
                raise
            parameters[6] = False
            book, rows = await self._rulebooks.ask(
                "decision_statement", parameters, through=self._batch
            )
        return [
            self._answer(book, found, context) for found, context in zip(rows, encoded, strict=True)
        ]

    def _answer(self, book: Rulebook, found: Row, context: str) -> dict[str, Any]:
        held = book.sources.decision_rules[found["holds"].index(True)]
        campaign = book.sources.campaign_rules[found["campaigns_hold"].index(True)]
        percent = held.holdout_percent or 0
        is_holdout = is_held_out(held.rule_key, found["subject_id"], percent)
        given = book.sources.decision_rules[-1] if is_holdout else held
        decided = Decision(
            decision_id=uuid.uuid4(),
            profile_id=found["profile_id"],
            subject_id=found["subject_id"],
            experience=given.experience,
            rule_key=held.rule_key,
            audience_keys=found["audience_keys"],
            context=msgspec.Raw(context.encode()),
            is_holdout=is_holdout,
            holdout_percent=percent,
            rule_version=book.version,
            decided_at=datetime.now(UTC),
            campaign=campaign.campaign,
            is_degraded=found["is_degraded"],
        )
        self._log.add(decided)
        self._metrics.count_decision(given.experience, found["is_degraded"])
        return {
            "decision_id": decided.decision_id,
            "experience": given.experience,
            "offer": given.offer,
            "reason": given.reason,
            "rule": held.rule_key,
            "is_holdout": is_holdout,
            "campaign": campaign.campaign,
            "audiences": found["audience_keys"],
            "profile": _profile(found),
            "signals": _signals(book, found),
            "as_of": found["as_of"],
            "degraded": found["is_degraded"],
            "versions": {
                "rules": book.version,
                "audiences": {
                    key: book.audience_versions[key]
                    for key in found["audience_keys"]
                    if key in book.audience_versions
                },
                "batch_as_of": found["batch_as_of"],
            },
        }


def is_held_out(rule_key: str, subject: str, percent: float) -> bool:
    """Whether a rule keeps somebody out: the same for as long as the subject is, and independent
    between rules.

    The same draw as `{"$bucket": {"split": "holdout:<rule_key>", "from": 0, "to": percent}}`.
    """
    if not percent:
        return False
    text = f"holdout:{rule_key}:{subject}"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) % 10_000 < percent * 100


def _profile(found: Row) -> dict[str, Any] | None:
    if found["profile_id"] is None:
        return None
    return {"profile_id": found["profile_id"], **found["profile"]}


def _signals(book: Rulebook, found: Row) -> dict[str, list[dict[str, Any]]]:
    sides: dict[str, list[dict[str, Any]]] = {"warehouse": [], "session": []}
    told = zip(book.signals, found["signals_held"], found["signal_values"], strict=True)
    for signal, is_held, value in told:
        sides[signal.side].append(
            {
                "attribute": signal.attribute,
                "operator": signal.operator,
                "threshold": signal.threshold,
                "value": value,
                "held": is_held,
            }
        )
    return sides


def decide_routes(settings: Settings, decider: Decider) -> APIRouter:
    router = APIRouter()
    schema = {"schema": msgspec.json.schema(DecideRequest)["$defs"]["DecideRequest"]}
    body = {"content": {"application/json": schema}, "required": True}

    @router.post("/decide", openapi_extra={"requestBody": body})
    async def decide(request: Request) -> Response:
        """Choose an experience for whoever these identifiers name, in this context.

        With `contexts`, a list of up to 100, the answer is `decisions`, one for each.
        """
        asked = await read_json(request, DecideRequest, settings.max_decision_bytes)
        who = identifiers(
            profile_id=asked.profile_id,
            user_id=asked.user_id,
            email=asked.email,
            phone=asked.phone,
            anonymous_id=asked.anonymous_id,
        )
        if not who.are_given:
            raise bad_request("Give user_id, email, phone, anonymous_id or profile_id.")
        if asked.contexts is None:
            [decision] = await decider.decide(who, [asked.context or {}])
            return json_response(decision)
        if asked.context is not None:
            raise bad_request("Give context or contexts, not both.", "contexts")
        return json_response({"decisions": await decider.decide(who, asked.contexts)})

    return router
