"""What the adapter promises beyond Robyn: methods, paths, limits, identity of requests, refusals."""

import subprocess
import sys

import msgspec
import pytest

from cortex.errors import ConfigError
from cortex.http import App, Request, Response, Server, Stream, json_response
from cortex.http.adapter import Adapter
from tests.unit.http.doors import HOST, get, loopback, plain_error, wire

LIMIT = 1000


def make_app() -> App:
    app = App("adapter", on_error=plain_error, max_body_bytes=LIMIT)

    @app.get("/models/:id/endpoint")
    @app.get("/models/*id")
    async def model(request: Request) -> Response:
        return json_response(request.path_params)

    @app.get("/")
    async def root(request: Request) -> Response:
        return json_response(request.query)

    @app.post("/take")
    async def take(request: Request) -> Response:
        return json_response(len(request.body))

    @app.get("/stream")
    async def stream(_request: Request) -> Stream:
        async def content():
            yield b""
            yield b"data: 1\n\n"

        return Stream(content())

    return app


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "id_"),
    [
        ("/models/org%2Fmodel", "org/model"),
        ("/models/org/model", "org/model"),
        ("/models/org%2Fmodel/endpoint", "org/model"),
        ("/models/gr%C3%BC%C3%9Fe%20x", "grüße x"),
        ("/models/a%252Fb", "a%2Fb"),
    ],
)
async def test_path_parameters_are_decoded_once(path: str, id_: str) -> None:
    async with loopback(make_app()) as door:
        answer = await door.ask("GET", path)
    assert msgspec.json.decode(answer.body) == {"id": id_}


@pytest.mark.anyio
async def test_query_values_are_decoded_and_empty_ones_kept() -> None:
    async with loopback(make_app()) as door, wire(door.server) as raw:
        await raw.send(get("/?beta=true&q=a%20b+c&empty="))
        await raw.head()
        assert msgspec.json.decode(await raw.until(b"}")) == {"beta": "true", "q": "a b c", "empty": ""}


@pytest.mark.anyio
async def test_head_answers_like_get_without_the_body() -> None:
    async with loopback(make_app()) as door, wire(door.server) as raw:
        await raw.send(get("/models/x", "HEAD"))
        head = await raw.head()
        assert head.startswith("HTTP/1.1 200")
        assert "content-length: 10\r\n" in head
        await raw.send(get("/stream", "HEAD"))  # the same connection: no stray body byte came between
        head = await raw.head()
        assert head.startswith("HTTP/1.1 200")
        assert "text/event-stream" in head


@pytest.mark.anyio
async def test_unknown_paths_and_wrong_methods_are_told_in_the_apps_style() -> None:
    async with loopback(make_app()) as door:
        missing = await door.ask("GET", "/nowhere")
        wrong = await door.ask("DELETE", "/take")
        wrong_get = await door.ask("POST", "/stream", body=b"x")
    assert (missing.status, msgspec.json.decode(missing.body)["code"]) == (404, "route_not_found")
    assert (wrong.status, wrong.headers["allow"], msgspec.json.decode(wrong.body)["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
    assert (wrong_get.status, wrong_get.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.anyio
async def test_event_streams_are_marked_uncacheable_and_unbuffered() -> None:
    async with loopback(make_app()) as door:
        answer = await door.ask("GET", "/stream", headers={"x-request-id": "mine"})
    assert answer.body == b"data: 1\n\n"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.anyio
async def test_a_body_at_the_limit_passes_and_one_byte_more_is_413() -> None:
    async with loopback(make_app()) as door:
        fits = await door.ask("POST", "/take", body=b"x" * LIMIT)
        over = await door.ask("POST", "/take", body=b"x" * (LIMIT + 1))
    assert (fits.status, fits.body) == (200, b"1000")
    assert (over.status, msgspec.json.decode(over.body)["code"]) == (413, "request_too_large")


@pytest.mark.anyio
async def test_a_taken_port_is_a_config_error_that_names_it() -> None:
    async with loopback(make_app()) as door:
        second = Server(make_app(), HOST, door.server.port, setting="port in neuron.toml")
        with pytest.raises(ConfigError) as caught:
            await second.start()
    assert str(door.server.port) in caught.value.message
    assert "port in neuron.toml" in caught.value.message


@pytest.mark.anyio
async def test_an_address_of_another_machine_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"no address 192\.0\.2\.1"):
        await Server(make_app(), "192.0.2.1", 0).start()


@pytest.mark.anyio
async def test_life_hooks_run_around_the_serving_in_order() -> None:
    app, seen = make_app(), []

    def hook(name: str):
        async def run() -> None:
            seen.append(name)

        return run

    app.on_startup(hook("a"))
    app.on_startup(hook("b"))
    app.on_shutdown(hook("c"))
    app.on_shutdown(hook("d"))
    async with loopback(app):
        assert seen == ["a", "b"]
    assert seen == ["a", "b", "d", "c"]


@pytest.mark.anyio
async def test_a_failing_start_hook_stops_the_start_and_frees_the_port() -> None:
    app = make_app()

    @app.on_startup
    async def fail() -> None:
        raise ConfigError("no")

    server = Server(app, HOST, 0)
    with pytest.raises(ConfigError):
        await server.start()
    fresh = Server(make_app(), HOST, server.port)
    await fresh.start()
    await fresh.stop()


async def _handler(_request: object) -> str:
    return ""


def _sync(_request: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("feature", "add"),
    [
        ("WebSocket", lambda robyn: robyn.add_web_socket("/ws", {})),
        ("directories", lambda robyn: robyn.serve_directory("/files", "/tmp")),
        ("const", lambda robyn: robyn.add_route("GET", "/const", _handler, is_const=True)),
        ("auth_required", lambda robyn: robyn.add_route("GET", "/auth", _handler, auth_required=True)),
        ("path-scoped", lambda robyn: robyn.before_request("/x")(_handler)),
        ("after-hooks", lambda robyn: robyn.after_request()(_handler)),
        ("sync", lambda robyn: robyn.add_route("GET", "/sync", _sync)),
        ("request headers", lambda robyn: robyn.add_request_header("a", "b")),
        ("excluded", lambda robyn: robyn.exclude_response_headers_for(["/x"])),
        ("sessions", lambda robyn: setattr(robyn, "session_manager", object())),
        ("MCP", lambda robyn: robyn.mcp),
    ],
)
def test_robyn_features_the_adapter_lacks_are_refused_when_it_is_built(feature: str, add) -> None:
    app = make_app()
    Adapter(app)
    add(app.robyn)
    with pytest.raises(ValueError, match=feature):
        Adapter(app)


def test_the_framework_import_leaves_the_process_alone() -> None:
    code = (
        "import sys, logging; sys.argv = ['cortex', '--version', '--dev']\n"
        "import os; os.environ['ROBYN_DEV_MODE'] = 'true'\n"
        "from cortex.http import App, Router\n"
        "App('x', on_error=None); Router('/v1')\n"
        "assert sys.argv == ['cortex', '--version', '--dev'], sys.argv\n"
        "assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING\n"
        "assert os.environ['ROBYN_DEV_MODE'] == 'true'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
