"""Rules of webhooks: which addresses may be registered, when a message comes again, what an answer means."""

import pytest

from crm.domain.webhooks import (
    DELAYS,
    LONGEST_PAUSE,
    Answer,
    Verdict,
    checked_address,
    delay,
    message_id,
    pause,
    verdict,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a/b?token=x%20y",
        "https://hooks.example.com:443/",
        "https://HOOKS.example.com:8443/in",
        "https://xn--mnchen-3ya.example/in",
    ],
)
def test_an_address_that_may_be_registered(url: str) -> None:
    """HTTPS to a host with a name, on a port of HTTPS; it is kept as it was written."""
    assert checked_address(url) == url


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://hooks.example.com/", "https"),
        ("ftp://hooks.example.com/", "https"),
        ("file:///etc/passwd", "address"),
        ("gopher://hooks.example.com/", "https"),
        ("https://", "address"),
        ("https:hooks.example.com", "address"),
        ("https://user:secret@hooks.example.com/", "address"),
        ("https://hooks.example.com@127.0.0.1/", "address"),
        ("https://hooks.example.com/#part", "address"),
        ("https://hooks.example.com/\r\nx-injected: 1", "address"),
        ("https://hooks.example.com/a b", "address"),
        ("https://hooks.example.com/é", "address"),
        ("https://hooks.example.com:99999/", "address"),
        ("https://[::1", "address"),
        ("https://hooks.example.com/" + "a" * 2_000, "address"),
        ("https://localhost/", "not_public"),
        ("https://LOCALHOST:8443/", "not_public"),
        ("https://hooks.localhost/", "not_public"),
        ("https://intranet/", "host_name"),
        ("https://127.0.0.1/", "not_public"),
        ("https://93.184.216.34/", "host_name"),
        ("https://0x7f.1/", "host_name"),
        ("https://2130706433/", "host_name"),
        ("https://0177.0.0.1/", "host_name"),
        ("https://[::1]/", "not_public"),
        ("https://[::ffff:127.0.0.1]/", "host_name"),
        ("https://münchen.example/", "host_name"),
        ("https://-a.example/", "host_name"),
        ("https://hooks.example.com.:443/", "host_name"),
        ("https://hooks.example.com:22/", "port"),
        ("https://hooks.example.com:6379/", "port"),
        ("https://hooks.example.com:80/", "port"),
        ("http://localhost:8000/", "https"),
    ],
)
def test_an_address_that_may_not(url: str, word: str) -> None:
    """Everything else is refused with a word, also what a parser might take for something else."""
    with pytest.raises(ValueError, match=f"^{word}$"):
        checked_address(url)


@pytest.mark.parametrize("url", ["http://localhost:8000/in", "http://127.0.0.1/in", "http://[::1]:9/in"])
def test_in_development(url: str) -> None:
    """Plain HTTP may go to this machine there, and to no other."""
    assert checked_address(url, development=True) == url
    for other in (
        "http://hooks.example.com/",
        "http://10.0.0.1/",
        "http://localhost.example.com/",
        "https://127.0.0.1/",
    ):
        with pytest.raises(ValueError, match=r"^(https|not_public)$"):
            checked_address(other, development=True)


def test_ten_attempts_within_three_days() -> None:
    """The schedule of the specification: 75 hours and 35 minutes from the first attempt to the tenth."""
    assert [delay(attempts, 0.0) for attempts in range(1, 11)] == [*DELAYS, None]
    assert sum(DELAYS) == 75 * 3_600 + 35 * 60 + 5
    assert delay(1, 1.0) == 6.0
    assert delay(2, 0.5) == 330.0


def test_what_a_receiver_asks_for() -> None:
    """Retry-After puts an attempt off, a day at most, and never brings it forward."""
    assert delay(1, 0.0, 120) == 120
    assert delay(9, 0.0, 120) == 86_400
    assert delay(1, 0.0, 10**9) == 86_400
    assert [pause(failures) for failures in (1, 2, 3, 8, 9, 99)] == [2, 4, 8, 256, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pause(1, 3_600) == 3_600
    assert pause(1, 10**9) == 86_400


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((Answer(status), Verdict.DELIVERED) for status in (200, 201, 202, 204, 299)),
        *((Answer(status), Verdict.FAILED) for status in (300, 301, 302, 304, 307, 308, 400, 401, 404, 413, 500, 199)),
        *((Answer(status), Verdict.BUSY) for status in (408, 429, 502, 503, 504)),
        *((Answer(word=word), Verdict.BUSY) for word in ("timeout", "unreachable", "tls", "address", "protocol")),
        (Answer(500, wait=30), Verdict.BUSY),
        (Answer(410), Verdict.GONE),
    ],
)
def test_what_an_answer_means(answer: Answer, expected: Verdict) -> None:
    """Any 2xx is success, a redirect is none, 410 is the end, and whoever is overloaded or away is left alone."""
    assert verdict(answer) is expected


def test_the_id_of_a_message() -> None:
    """It follows from endpoint and change, and holds no full stop, which would blur what is signed."""
    name, change = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-0000000000aa"
    assert message_id(name, change) == "msg_01900000000070008000000000000001_019000000000700080000000000000aa"
    assert message_id(name, change) != message_id(change, name)
