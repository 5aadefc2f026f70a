"""What the benchmark says follows from what it measured: aims, ratios, processor time, ends of answers."""

import os
import subprocess
import sys

import pytest

from bench import processor, targets
from bench.generator import Burst, answered
from bench.ratios import ratio


def burst(rate: float, **cpu: float) -> Burst:
    """A slice of so many requests a second, with microseconds by who used them."""
    return Burst(rate, 1.0, 2.0, cpu, 0.1)


def test_ratios_are_told_with_their_range() -> None:
    """The median comes first, then the lowest and the highest."""
    assert ratio([2.0, 1.0, 4.0]) == "2 (1-4)"


def test_aims_are_compared_within_rounds() -> None:
    """More requests are better, less processor time is better, and rounds are not mixed."""
    rounds = [
        {"heed": burst(200, server=50, database=50), "postgraphile": burst(100, server=350, database=50)},
        {"heed": burst(900, server=100, database=0), "postgraphile": burst(300, server=100, database=100)},
    ]
    head, *told = targets.lines({("one", 16): rounds})
    assert "aim" in head
    (line,) = [each for each in told if "postgraphile" in each]
    assert line.split() == ["one,", "16", "at", "once:", "postgraphile", "2", "2.5", "(2-3)", "3", "(2-4)"]


def test_aims_without_both_sides_are_left_out() -> None:
    """What was not measured is not told of."""
    assert len(targets.lines({("one", 16): [{"bare": burst(1, server=1)}]})) == 1


@pytest.mark.parametrize(
    ("received", "start"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 38),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n{}", 37),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
    ],
)
def test_an_answer_ends_where_it_says(received: bytes, start: int | None) -> None:
    """An answer is complete with its last octet, however the header is written."""
    assert answered(bytearray(received)) == start


def test_an_answer_of_unknown_length_is_refused() -> None:
    """The generator does not guess where an answer ends."""
    with pytest.raises(RuntimeError, match="how long"):
        answered(bytearray(b"HTTP/1.1 200 OK\r\n\r\n{}"))


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the system does not tell processor time so")  # noqa: PTH110
def test_processor_time_is_that_of_the_process_asked_about() -> None:
    """Another process's work is counted for that process, and ours is not."""
    work = "import sys\nfor _ in range(1_000_000): pass\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = processor.seconds([process.pid])
        assert first[process.pid] > 0.005
        assert processor.seconds([process.pid])[process.pid] - first[process.pid] < 0.005
        process.communicate()
    assert processor.seconds([process.pid]) == {process.pid: 0}
