"""What is sent again and when, told by a clock that the test moves."""

from __future__ import annotations

from aiosipua.message import SipMessage, SipRequest, SipResponse
from realtime_ivr.sip.dialog import ack_error, first_request
from realtime_ivr.sip.reading import Request, Response, answer, read
from realtime_ivr.sip.transactions import LIFE_S, Transactions, Unacknowledged, Unanswered

HERE, THERE = ("127.0.0.1", 5090), ("127.0.0.1", 5060)


def invite(method: str = "INVITE", branch: str = "z9hG4bKa", cseq: int = 1) -> Request:
    text = (
        f"{method} sip:ivr@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch={branch};rport\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:ivr@b>\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\nContact: <sip:a@127.0.0.1:5060>\r\nContent-Length: 0\r\n\r\n"
    )
    request = read(text.encode(), THERE)
    assert isinstance(request, Request)
    return request


def times_sent(machine: Transactions, until: float, start: float = 0.0) -> tuple[list[float], list[object]]:
    """When something was sent, and what timed out, letting the clock run."""
    sent, over = [], []
    while machine.next_due is not None and machine.next_due <= until:
        now = machine.next_due
        over += machine.expire(now)
        sent += [round(now - start, 3) for _ in machine.outbox]
        machine.outbox.clear()
    return sent, over


def ask(machine: Transactions, method: str) -> tuple[SipRequest, tuple[str, str]]:
    request, _ = first_request(method, "sip:bob@127.0.0.1", "sip:me@127.0.0.1", "sip:bob@127.0.0.1", HERE)
    key = machine.request(request, THERE, 0.0)
    assert len(machine.outbox) == 1
    machine.outbox.clear()
    return request, key


def reply(request: SipRequest, status: int) -> Response:
    response = read(bytes(answer(request, status, to_tag="t")), THERE)
    assert isinstance(response, Response)
    return response


def test_an_unanswered_invite_is_sent_seven_times_and_given_up_after_32_s() -> None:
    machine = Transactions()
    request, key = ask(machine, "INVITE")
    sent, over = times_sent(machine, 100)
    assert sent == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert over == [Unanswered(key, request)] and len(machine) == 0


def test_other_requests_repeat_every_four_seconds_at_most() -> None:
    machine = Transactions()
    request, key = ask(machine, "BYE")
    sent, over = times_sent(machine, 100)
    assert sent == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert over == [Unanswered(key, request)]


def test_a_provisional_answer_ends_the_repeating_of_an_invite_for_as_long_as_it_rings() -> None:
    machine = Transactions()
    request, _ = ask(machine, "INVITE")
    assert machine.receive_response(reply(request, 180), 0.2, lambda r: ack_error(request, r))
    assert times_sent(machine, 1000) == ([], [])


def test_an_error_is_acknowledged_again_each_time_it_comes_again_but_told_once() -> None:
    machine = Transactions()
    request, _ = ask(machine, "INVITE")
    told = [machine.receive_response(reply(request, 486), at, lambda r: ack_error(request, r)) for at in (0.1, 0.6, 1.6)]
    assert told == [True, False, False]
    acks = [SipMessage.parse(data) for data, _ in machine.outbox]
    assert [ack.method for ack in acks if isinstance(ack, SipRequest)] == ["ACK"] * 3
    assert acks[0].headers.get_first("via") == request.headers.get_first("via")
    machine.outbox.clear()
    assert times_sent(machine, 100) == ([], []) and len(machine) == 0


def test_a_repeated_200_is_told_each_time_for_its_ack_was_lost() -> None:
    machine = Transactions()
    request, _ = ask(machine, "INVITE")
    assert [machine.receive_response(reply(request, 200), at, lambda r: ack_error(request, r)) for at in (0.1, 0.6, 1.6)] == [True] * 3
    assert machine.outbox == []


def test_a_repeated_request_gets_the_same_answer_and_is_not_new() -> None:
    machine = Transactions()
    first = invite()
    assert machine.receive_request(first, 0.0)
    assert not machine.receive_request(invite(), 0.1) and machine.outbox == []  # nothing to repeat yet
    machine.respond(first, answer(first.message, 180, to_tag="t"), 0.2)
    assert not machine.receive_request(invite(), 0.3)
    assert len(machine.outbox) == 2 and machine.outbox[0] == machine.outbox[1]


def test_an_unacknowledged_200_repeats_and_is_given_up() -> None:
    machine = Transactions()
    first = invite()
    machine.receive_request(first, 0.0)
    machine.respond(first, answer(first.message, 200, to_tag="t"), 0.0)
    machine.outbox.clear()
    sent, over = times_sent(machine, 100)
    assert sent == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert over == [Unacknowledged(first.key, first)] and len(machine) == 0


def test_the_ack_of_a_200_ends_its_repeating() -> None:
    machine = Transactions()
    first = invite()
    machine.receive_request(first, 0.0)
    machine.respond(first, answer(first.message, 200, to_tag="t"), 0.0)
    machine.outbox.clear()
    assert machine.receive_request(invite("ACK", branch="z9hG4bKother"), 0.1)  # the owner's, who tells
    machine.acknowledge_call("c", 1, 0.1)
    assert times_sent(machine, 100) == ([], []) and len(machine) == 0


def test_the_ack_of_an_error_is_the_transactions_own() -> None:
    machine = Transactions()
    first = invite()
    machine.receive_request(first, 0.0)
    machine.respond(first, answer(first.message, 486, to_tag="t"), 0.0)
    machine.outbox.clear()
    assert not machine.receive_request(invite("ACK"), 0.1)
    assert times_sent(machine, 100) == ([], []) and len(machine) == 0


def test_nothing_is_remembered_for_ever_and_too_much_is_not_taken() -> None:
    machine = Transactions(max_transactions=3)
    taken = [machine.receive_request(invite("OPTIONS", branch=f"z9hG4bK{n}"), 0.0) for n in range(5)]
    assert taken == [True] * 3 + [False] * 2 and machine.refused == 2
    times_sent(machine, LIFE_S + 1)
    assert len(machine) == 0


def test_answers_go_to_where_the_request_came_from_whatever_its_via_says() -> None:
    text = (
        "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9:53;branch=z9hG4bKx;received=198.51.100.8;rport=99\r\n"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    machine = Transactions()
    request = read(text.encode(), ("127.0.0.1", 7777))
    assert isinstance(request, Request)
    machine.receive_request(request, 0.0)
    machine.respond(request, SipResponse(headers=answer(request.message, 200).headers, status_code=200, reason_phrase="OK"), 0.0)
    assert machine.outbox[0][1] == ("127.0.0.1", 7777)
