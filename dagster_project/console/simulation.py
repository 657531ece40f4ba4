"""Checkout simulation: one purchase through the real API, told step by step as each really happens.

The page asks for one step after the other and carries along what the steps before took, so that
nothing is kept here between them. The ids of the two events are made of the simulation's, so a step
that is asked for again after a lost answer counts once.
"""

import re
import uuid
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagster_project.console.api import ApiError
from dagster_project.console.pages import Pages, plain_query, read_form, token_of

STEPS = ("identify", "track", "unify", "decide")
EXAMPLE = {"amount": "150", "category": "concert tickets"}
EXPERIENCES = ("premium", "loyalty", "acquisition", "control")


@dataclass(frozen=True)
class Checkout:
    """Who buys what. `took` holds the milliseconds of the steps that are done, by name."""

    simulation_id: uuid.UUID
    email: str | None
    user_id: str | None
    amount: Decimal
    category: str
    took: dict[str, float] = field(default_factory=dict)

    @property
    def identifiers(self) -> dict[str, str]:
        given = {"email": self.email, "user_id": self.user_id}
        return {name: value for name, value in given.items() if value}

    @property
    def next_step(self) -> str | None:
        """The first step that has not happened yet."""
        return next((step for step in STEPS if step not in self.took), None)

    def message_id(self, step: str) -> str:
        return f"console-{self.simulation_id}-{step}"


def simulation_routes(pages: Pages) -> list[Route]:
    async def checkout(request: Request) -> Response:
        """The form, empty or as a link fills it in."""
        await pages.may_read(request)
        given = {name: plain_query(request, name) for name in ("email", "user_id", *EXAMPLE)}
        form = {name: value or EXAMPLE.get(name, "") for name, value in given.items()}
        return pages.show(request, "simulation.html", form=form, simulation_id=uuid.uuid4())

    async def step(request: Request) -> Response:
        """Do the next step and show how far it is; a page without scripts does them all."""
        await pages.may_buy(request)
        checkout = read_checkout(await read_form(request))
        profile: dict[str, Any] | None = None
        answer: dict[str, Any] | None = None
        while (step := checkout.next_step) is not None:
            if step == "unify":
                profile, checkout.took[step] = await _find_profile(pages, request, checkout)
            elif step == "decide":
                answer, checkout.took[step] = await _decide(pages, request, checkout)
            else:
                checkout.took[step] = await _collect(pages, step, checkout)
            if request.headers.get("HX-Request"):
                break
        return pages.show(
            request,
            "simulation_progress.html" if request.headers.get("HX-Request") else "simulated.html",
            checkout=checkout,
            profile=profile,
            answer=answer,
            sides=judged(answer) if answer else None,
            next_id=uuid.uuid4(),
        )

    return [
        Route("/", checkout),
        Route("/simulation", step, methods=["POST"]),
    ]


def read_checkout(form: dict[str, str]) -> Checkout:
    """The form's fields, checked. Raises ApiError that says which is wrong."""
    email, user_id = form.get("email") or None, form.get("user_id") or None
    if not email and not user_id:
        raise ApiError(400, "bad_request", "Give an e-mail, a user id, or both.")
    try:
        simulation_id = uuid.UUID(form.get("simulation_id", ""))
    except ValueError:
        simulation_id = uuid.uuid4()
    return Checkout(
        simulation_id=simulation_id,
        email=email,
        user_id=user_id,
        amount=_amount(form.get("amount", "")),
        category=form.get("category", ""),
        took={step: _milliseconds(form[step]) for step in STEPS if step in form},
    )


def judged(answer: dict[str, Any]) -> dict[str, bool]:
    """Which side of the decision held, by its signals: all of one side, and the hybrid of both."""
    held = {
        side: bool(signals) and all(signal["held"] for signal in signals)
        for side, signals in answer["signals"].items()
    }
    return held | {"hybrid": all(held.values())}


async def _collect(pages: Pages, step: str, checkout: Checkout) -> float:
    body: dict[str, Any] = checkout.identifiers | {"message_id": checkout.message_id(step)}
    if step == "track":
        body["event_type"] = "Order Completed"
        body["properties"] = {
            "order_id": f"console-{checkout.simulation_id}",
            "amount": float(checkout.amount),
            "category": checkout.category,
        }
    return (await pages.api.collect(f"/{step}", body)).milliseconds


async def _find_profile(
    pages: Pages, request: Request, checkout: Checkout
) -> tuple[dict[str, Any] | None, float]:
    """The profile as a reader finds it now, by the stronger identifier; and the milliseconds."""
    name = "user_id" if checkout.user_id else "email"
    query = {name: checkout.identifiers[name]}
    answer = await pages.api.timed_get("/profiles", token_of(request), **query)
    found = answer.content["profiles"]
    return (found[0] if found else None), answer.milliseconds


async def _decide(
    pages: Pages, request: Request, checkout: Checkout
) -> tuple[dict[str, Any], float]:
    context = {"amount": float(checkout.amount), "category": checkout.category, "channel": "web"}
    body = checkout.identifiers | {"context": context}
    answer = await pages.api.post("/decide", token_of(request), body)
    return answer.content, answer.milliseconds


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= 10_000_000:
        raise ApiError(400, "bad_request", f'The amount is "{text}"; give a number such as 150.')
    return amount


def _milliseconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,7}(\.\d{1,6})?", text) else 0.0
