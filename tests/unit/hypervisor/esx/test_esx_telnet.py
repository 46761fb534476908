"""What an ESX host and a concentrator say to each other, byte by byte."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esx_host import Host
from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.esx.telnet import Telnet, escaped

SERVICE = "hyper-agent-1"
# WILL and DO of BINARY and of SUPPRESS-GO-AHEAD.
GREETING = bytes.fromhex("fffb00 fffd00 fffb03 fffd03")
ASKED = bytes.fromhex("fffbe8 fffae80046 50fff0") + b"\xff\xfa\xe8\x46S" + SERVICE.encode() + b"\xff\xf0"
ANSWERED = bytes.fromhex("fffde8 fffae801 000103464749fff0 fffae847fff0")


def served() -> Telnet:
    telnet = Telnet({SERVICE}.__contains__)
    telnet.receive(ASKED)
    telnet.to_send()
    return telnet


def test_a_port_is_led_to_its_service() -> None:
    telnet = Telnet({SERVICE}.__contains__)
    assert telnet.to_send() == GREETING
    assert telnet.receive(ASKED) == b"" and telnet.service == SERVICE
    assert telnet.to_send() == ANSWERED


def test_it_is_the_same_byte_by_byte() -> None:
    telnet = Telnet({SERVICE}.__contains__)
    data = ASKED + escaped(b"a\xffb")
    assert b"".join(telnet.receive(data[at : at + 1]) for at in range(len(data))) == b"a\xffb"
    assert telnet.to_send() == GREETING + ANSWERED


def test_an_unknown_service_is_refused() -> None:
    telnet = Telnet(set[str]().__contains__)
    telnet.receive(ASKED)
    assert telnet.service == "" and telnet.to_send().endswith(bytes.fromhex("fffae849fff0"))
    with pytest.raises(HypervisorError, match="before it was led anywhere"):
        telnet.receive(b"data")


def test_it_is_led_once() -> None:
    telnet = Telnet({SERVICE, "other"}.__contains__)
    telnet.receive(ASKED)
    telnet.receive(b"\xff\xfa\xe8\x46Sother\xff\xf0")
    assert telnet.service == SERVICE and telnet.to_send().endswith(bytes.fromhex("fffae849fff0"))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("fffb00", ""),  # as we wanted: an answer to that would be answered
        ("fffd03", ""),
        ("fffb01", "fffe01"),
        ("fffd01", "fffc01"),
        ("fffc00", "fffe00"),
        ("fffe00", "fffc00"),
        ("fffde8", "fffce8"),  # the extension is the host's to say
        ("fffae82a0102fff0", "fffae8032afff0"),  # a word that we do not know
        ("fffae803 2afff0", ""),
        ("fffa2c6566fff0", ""),  # of another option
        ("fff1", ""),
    ],
)
def test_what_is_answered(said: str, answer: str) -> None:
    telnet = served()
    assert telnet.receive(bytes.fromhex(said)) == b""
    assert telnet.to_send() == bytes.fromhex(answer)
    telnet.receive(bytes.fromhex(said))
    if said.startswith(("fffb", "fffc", "fffd", "fffe")):
        assert telnet.to_send() == b""  # two that answer what is known already never end


def test_one_that_does_not_end_is_too_long() -> None:
    with pytest.raises(HypervisorError, match="too much"):
        served().receive(b"\xff\xfa\xe8\x00" + b"x" * 5000)


@given(st.lists(st.binary(max_size=200), max_size=8), st.randoms(use_true_random=False))
def test_bytes_come_whole_however_they_are_cut(pieces: list[bytes], rng: random.Random) -> None:
    telnet, whole = served(), b"".join(map(escaped, pieces))
    out, at = b"", 0
    while at < len(whole):
        step = rng.randint(1, 9)
        out += telnet.receive(whole[at : at + step])
        at += step
    assert out == b"".join(pieces)


@given(st.binary(max_size=600))
def test_rubbish_ends_in_words_or_goes_on(data: bytes) -> None:
    telnet = Telnet({SERVICE}.__contains__)
    try:
        telnet.receive(data)
        telnet.receive(ASKED)
    except HypervisorError:
        return


def test_a_host_of_ours_understands_it() -> None:
    """The end that the other tests have for ESX's."""
    host, telnet = Host(SERVICE), Telnet({SERVICE}.__contains__)
    for _ in range(4):
        telnet.receive(host.to_send())
        assert host.receive(telnet.to_send()) == b""
    assert host.led and telnet.service == SERVICE
    host.send(b"from\xffthe port")
    assert telnet.receive(host.to_send()) == b"from\xffthe port"
    assert host.receive(escaped(b"to\xffit")) == b"to\xffit"
