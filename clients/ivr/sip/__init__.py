"""SIP (RFC 3261) and RTP (RFC 3550) for `transports/sip.py`.

    reading.py       datagram -> checked request or response; answers built from requests
    transactions.py  PURE. what is sent again and when, what was seen before, what times out
    dialog.py        who talks to whom within a call: tags, sequence numbers, routes
    offer.py         PURE. SDP offers and answers for G.711 and telephone-events
    agent.py         the socket: dispatch, calls in and out, limits
    registering.py   an address kept bound at a registrar
    leg.py wire.py   one call's signalling, and what it needs of the agent
    rtp.py           PURE. packets out and in: sequence, timestamps, whose packets count
    dtmf.py          PURE. RFC 4733 keys both ways
    media.py         one call's two sockets, paced, with RTCP

Messages, headers, the SDP model and digest answers come from `aiosipua`, RTCP packets and reception statistics from `aiortp`. Their
user agents and sessions were tried and not taken; SIP.md beside this file says what failed.
"""
