"""POST /decide: which experience, and on what evidence."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from cdp.settings import Settings
from dagster_project.serving.body import read_json
from dagster_project.serving.database import Database, Row
from dagster_project.serving.decision_log import Decision, DecisionLog
from dagster_project.serving.decision_rules import DecisionRules, load_decision_rules
from dagster_project.serving.errors import bad_request, json_response, unavailable
from dagster_project.serving.identity import normal_email, normal_id

# As ingest takes them: a number is its text, white space around does not count, empty is absent.
Identifier = Annotated[str, msgspec.Meta(max_length=512)] | int


class DecideRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Who, by any identifiers that are known, and in which situation."""

    user_id: Identifier | None = None
    email: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    anonymous_id: Identifier | None = None
    profile_id: uuid.UUID | None = None
    context: dict[str, Any] | None = None


class Decider:
    """Decides with the rules as they are stored now."""

    def __init__(self, database: Database, decision_log: DecisionLog) -> None:
        self._database = database
        self._log = decision_log
        self._rules: DecisionRules | None = None

    async def decide(self, asked: DecideRequest) -> dict[str, Any]:
        """The answer to one request. Raises RequestError (503) while it cannot be told."""
        context = msgspec.json.encode(asked.context or {}).decode()
        rules, found = await self._ask(asked, context)
        rule = rules.rules[found["holds"].index(True)]
        decided = Decision(
            decision_id=uuid.uuid4(),
            profile_id=found["profile_id"],
            experience=rule.experience,
            rule_key=rule.rule_key,
            audience_keys=found["audience_keys"],
            context=context,
            rule_version=rules.version,
            decided_at=datetime.now(UTC),
        )
        self._log.add(decided)
        return {
            "decision_id": decided.decision_id,
            "experience": rule.experience,
            "offer": rule.offer,
            "reason": rule.reason,
            "rule": rule.rule_key,
            "audiences": found["audience_keys"],
            "profile": _profile(found),
            "signals": _signals(rules, found),
            "as_of": found["as_of"],
            "versions": {"rules": rules.version, "audiences": found["audience_versions"]},
        }

    async def _ask(self, asked: DecideRequest, context: str) -> tuple[DecisionRules, Row]:
        """The rules and what the statement found with them; the rules are read again if changed."""
        parameters = [
            asked.profile_id,
            normal_id(asked.user_id),
            normal_email(asked.email),
            normal_id(asked.anonymous_id),
            context,
        ]
        rules = self._rules or await self._reload()
        for _attempt in range(3):
            found = await self._database.row(rules.statement, parameters)
            if found is None:
                raise unavailable("not_built", "No run has ended yet; run `cdp refresh`.")
            if found["stored_at"] == rules.stored_at:
                return rules, found
            rules = await self._reload()
        raise unavailable("rules_changing", "The decision rules are being replaced; try again.")

    async def _reload(self) -> DecisionRules:
        self._rules = await load_decision_rules(self._database)
        return self._rules


def _profile(found: Row) -> dict[str, Any] | None:
    if found["profile_id"] is None:
        return None
    return {"profile_id": found["profile_id"], **found["profile"]}


def _signals(rules: DecisionRules, found: Row) -> dict[str, list[dict[str, Any]]]:
    sides: dict[str, list[dict[str, Any]]] = {"warehouse": [], "session": []}
    told = zip(rules.signals, found["signals_held"], found["signal_values"], strict=True)
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
        """Choose an experience for whoever these identifiers name, in this context."""
        asked = await read_json(request, DecideRequest, settings.max_decision_bytes)
        given = (normal_id(asked.user_id), asked.email, normal_id(asked.anonymous_id))
        if not any(given) and asked.profile_id is None:
            raise bad_request("Give user_id, email, anonymous_id or profile_id.")
        return json_response(await decider.decide(asked))

    return router
