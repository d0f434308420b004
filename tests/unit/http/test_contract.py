"""One suite, two doors: what handlers and hooks may rely on, whoever serves the App."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from cortex.errors import InvalidField, QueueFull, Unauthorized
from cortex.http import App, Request, Response, Router, json_response
from tests.unit.http.doors import Door, InProcess, loopback, plain_error

pytestmark = pytest.mark.anyio


async def guard(request: Request) -> Response | None:
    if request.headers.get("x-deny") == "answer":
        return json_response({"denied": True}, status=403)
    if request.headers.get("x-deny") == "raise":
        raise Unauthorized("no key")
    return None


async def echo(request: Request) -> Response:
    return Response(body=request.body, media_type="application/octet-stream", headers={"x-length": "7"})


async def seen(request: Request) -> Response:
    return json_response(request)


async def rest(request: Request) -> Response:
    return json_response(request.path_params)


async def fails(request: Request) -> Response:
    if request.path_params["how"] == "field":
        raise InvalidField("`n` is too big", param="n")
    if request.path_params["how"] == "full":
        raise QueueFull("queue is full", retry_after=2.4)
    raise ZeroDivisionError("secret detail")


async def inside(_request: Request) -> Response:
    raise InvalidField("from a router")


def make_app() -> App:
    app = App("contract", on_error=plain_error)
    app.before(guard)
    app.post("/echo")(echo)
    app.get("/seen/:name/:other")(seen)
    app.get("/rest/*tail")(rest)
    app.get("/fails/:how")(fails)
    router = Router("/v1")
    router.get("/inside")(inside)
    app.include(router)
    return app


@pytest.fixture(params=["loopback", "testclient"])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    if request.param == "testclient":
        client = InProcess(make_app())
        yield client
        client.close()
    else:
        async with loopback(make_app()) as client:
            yield client


@pytest.mark.parametrize("body", [b"{}", "grüße".encode(), b"\xff\x00\xfe", b"x" * 300_000])
async def test_the_body_reaches_the_handler_unchanged(door: Door, body: bytes) -> None:
    answer = await door.ask("POST", "/echo", body=body)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-length"] == "7"


async def test_the_request_shows_method_path_parameters_query_and_headers(door: Door) -> None:
    answer = await door.ask("GET", "/seen/a/b?x=1", headers={"X-Mixed": "Value", "x-request-id": "abc-1"})
    seen = msgspec.json.decode(answer.body)
    assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/seen/a/b", {"x": "1"})
    assert seen["path_params"] == {"name": "a", "other": "b"}
    assert seen["headers"]["x-mixed"] == "Value"
    assert seen["client"] == "127.0.0.1"
    assert seen["id"] == answer.headers["x-request-id"] == "abc-1"


async def test_a_rest_parameter_keeps_its_slashes(door: Door) -> None:
    answer = await door.ask("GET", "/rest/org/model")
    assert msgspec.json.decode(answer.body) == {"tail": "org/model"}


@pytest.mark.parametrize("offered", [None, "with space", "x" * 200])
async def test_a_request_id_is_made_where_none_or_a_bad_one_is_offered(door: Door, offered: str | None) -> None:
    answer = await door.ask("POST", "/echo", body=b"", headers={"x-request-id": offered} if offered else {})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_errors_are_told_in_the_style_of_the_app(door: Door) -> None:
    answer = await door.ask("GET", "/fails/field")
    told = msgspec.json.decode(answer.body)
    assert (answer.status, told["code"], told["message"]) == (400, "invalid_value", "`n` is too big")
    assert told["id"] == answer.headers["x-request-id"]


async def test_a_router_answers_in_the_style_of_its_app(door: Door) -> None:
    answer = await door.ask("GET", "/v1/inside")
    assert (answer.status, msgspec.json.decode(answer.body)["message"]) == (400, "from a router")


async def test_capacity_errors_carry_retry_after(door: Door) -> None:
    answer = await door.ask("GET", "/fails/full")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


async def test_a_bug_is_an_internal_error_without_its_details(door: Door) -> None:
    answer = await door.ask("GET", "/fails/bug")
    assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(("how", "status"), [("answer", 403), ("raise", 401)])
async def test_the_hook_guards_every_method_and_unknown_paths(door: Door, how: str, status: int) -> None:
    for method, path in [("GET", "/rest/x"), ("POST", "/echo"), ("DELETE", "/nowhere"), ("GET", "/v1/inside")]:
        answer = await door.ask(method, path, headers={"x-deny": how})
        assert answer.status == status, (method, path)
