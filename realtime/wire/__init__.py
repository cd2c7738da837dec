"""Messages to neutral events and back, and what is legal when. Pure: no sockets, clocks, threads or numpy.

`events` says what can be said, `transitions` when, `session` walks it for one connection; a `dialect` writes and reads it. `rules` and
`shapes` describe each field once, for the decoder (`reading`), the schema and the page (`schema`, `diagram`, `reference`, PROTOCOL.md).

    session, dialect = Session(Role.SERVER), NativeJson(Role.SERVER)
    try:
        for event in dialect.decode(message):
            if session.receive(event):
                ...act on it...
    except RealtimeError as error:
        refusal = session.refuse(error)    # the `error` event to send, or None
"""
