"""Who asks, behind proxies or not, and which pages of browsers are refused."""

import pytest

from cortex.http.origin import browser_trouble, client_address, networks

PROXIES = networks(["10.0.0.9", "172.16.0.0/12"])


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("192.168.1.5", {}, ("192.168.1.5", False)),
        ("10.0.0.9", {"x-forwarded-for": "8.8.8.8"}, ("8.8.8.8", False)),
        ("::ffff:10.0.0.9", {"x-forwarded-for": "8.8.8.8"}, ("8.8.8.8", False)),
        ("10.0.0.9", {"x-forwarded-for": "1.1.1.1, 8.8.8.8, 172.16.0.1"}, ("8.8.8.8", False)),
        ("10.0.0.9", {"x-forwarded-for": "127.0.0.1, 8.8.8.8"}, ("8.8.8.8", False)),
        ("10.0.0.9", {}, ("10.0.0.9", False)),
        # Not a listed proxy: what it says takes rights away, and never gives any.
        ("192.168.1.5", {"x-forwarded-for": "127.0.0.1"}, ("192.168.1.5", True)),
        ("127.0.0.1", {"x-forwarded-for": "8.8.8.8"}, ("8.8.8.8", True)),
        ("127.0.0.1", {"x-forwarded-for": "nonsense"}, ("nonsense", True)),
        ("127.0.0.1", {"forwarded": "for=8.8.8.8"}, ("127.0.0.1", True)),
        (None, {}, (None, False)),
    ],
)
def test_the_client_of_a_request(peer: str | None, headers: dict[str, str], expected: tuple[str | None, bool]) -> None:
    assert client_address(peer, headers, PROXIES) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:31313"},
        {"host": "[::1]:31313"},
        {"host": "localhost:31313"},
        {"host": "beast"},
        {"host": "beast.lan:31313"},
        {"host": "MINE.example.com"},
        {"host": "gateway.example.org"},
        {"host": "localhost", "origin": "http://localhost:3000"},
        {"host": "beast:31313", "origin": "http://beast:31313"},
        {"host": "beast", "origin": "https://chat.example.org"},
        {"host": "beast", "origin": "vscode-webview://abc"},
        {"host": "beast", "sec-fetch-site": "same-origin"},
    ],
)
def test_programs_and_own_pages_may_ask(headers: dict[str, str]) -> None:
    assert trouble(headers) is None


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"host": "evil.example"}, "allowed_hosts"),
        ({"host": "evil.example:31313", "origin": "http://evil.example:31313"}, "allowed_hosts"),
        ({"host": "127.0.0.1.evil.example"}, "allowed_hosts"),
        ({"host": "localhost.evil.example"}, "allowed_hosts"),
        ({"host": "beast", "origin": "http://evil.example"}, "allowed_origins"),
        ({"host": "beast", "origin": "http://localhost.evil.example"}, "allowed_origins"),
        ({"host": "beast", "origin": "null"}, "allowed_origins"),
        ({"host": "beast", "sec-fetch-site": "cross-site"}, "other sites"),
    ],
)
def test_pages_of_others_may_not(headers: dict[str, str], told: str) -> None:
    assert told in (trouble(headers) or "")


def trouble(headers: dict[str, str]) -> str | None:
    return browser_trouble(
        headers, hosts=["gateway.example.org"], origins=["https://chat.example.org"], hostname="mine.example.com"
    )
