"""espeak-ng through espeakng-loader: the weight-free default and last resort (extra `espeak`).

    library.py   the C library: text in, samples and word events out (a GPL library, so only ever inside its own worker process)
    clauses.py   text to clauses, clauses to runs of one script
    render.py    a clause to sound with character times
    voices.py    who speaks
    engine.py    the engine contract

May import types, errors, engines.base, audio.features; numpy and ctypes.
"""
