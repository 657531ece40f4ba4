"""A message that a destination has not acknowledged: whom it is about, and why it waits."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dagster_project.console.api import ApiError
from dagster_project.console.pages import Pages
from dagster_project.console.readings import MESSAGE_ROWS, unless_built


def delivery_routes(pages: Pages) -> list[Route]:
    async def message(request: Request) -> Response:
        """The rows of one message; they are gone once it has arrived."""
        await pages.may_read(request)
        named = request.path_params
        rows = await unless_built(
            pages.database,
            MESSAGE_ROWS,
            [named["destination"], named["audience_id"], named["message_id"]],
        )
        if not rows:
            raise ApiError(404, "not_found", "No such message waits; perhaps it has arrived since.")
        return pages.show(
            request,
            "message.html",
            destination=named["destination"],
            message_id=named["message_id"],
            rows=rows,
        )

    return [Route("/pipeline/deliveries/{destination}/{audience_id:int}/{message_id}", message)]
