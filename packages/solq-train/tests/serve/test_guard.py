"""Who is answered, and what every answer says of itself."""

from __future__ import annotations

import json
from functools import partial

import pytest

from solq_train.serve.guard import Guard


@pytest.fixture
def answer(run_async):
    """Asks an application behind a guard."""
    return partial(ask, run_async)


def ask(run_async, listens, path, **headers):
    """Status and headers of an application that says 200 to everyone who gets to it."""

    async def application(_scope, _receive, send):
        own = [(b"cache-control", b"max-age=1")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"{}"})

    sent = []

    async def send(message):
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": pairs}
    run_async(lambda: Guard(application, listens)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("listens", "asked", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8017", 200),
        ("127.0.0.1", "LocalHost:8017", 200),
        ("127.0.0.1", "[::1]:8017", 200),
        ("127.0.0.1", "evil.example:8017", 403),
        ("127.0.0.1", "127.0.0.1.evil.example", 403),
        ("127.0.0.1", "", 403),
        ("10.0.0.7", "10.0.0.7:8017", 200),
        ("10.0.0.7", "evil.example", 403),
        ("fe80::1", "[fe80::1]:8017", 200),
        ("0.0.0.0", "any.example", 200),
    ],
)
def test_only_names_of_this_server_are_answered(answer, listens, asked, status):
    assert answer(listens, "/", host=asked)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8017", "sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_questions_of_other_sites_are_refused(answer, headers, status):
    found, _, body = answer("127.0.0.1", "/api/predict", host="localhost:8017", **headers)
    assert found == status
    assert ("error" in body) == (status == 403)


def test_the_page_may_be_opened_by_a_link(answer):
    found = answer("127.0.0.1", "/", host="localhost", sec_fetch_site="cross-site")
    assert found[0] == 200


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_forbids_what_the_page_does_not_need(answer, host):
    _, headers, _ = answer("127.0.0.1", "/", host=host)
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"access-control-allow-origin" not in headers


def test_what_the_application_says_itself_is_kept(answer):
    _, headers, _ = answer("127.0.0.1", "/", host="localhost")
    assert headers[b"cache-control"] == b"max-age=1"
