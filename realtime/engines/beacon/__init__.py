"""A test voice whose sound can be decoded back to the exact text, so that any loss or repetition is provable.

    signal.py    how one character becomes tones: bits, checksum, markers (a small modem)
    voices.py    who speaks: tempo, level, sample rate, layout
    encoder.py   text to samples, any part of the timeline on its own
    decoder.py   samples to characters with times, and to what was cut or damaged
    engine.py    the engine contract around the encoder

May import types, errors, engines.base, audio.features; numpy and soxr.
"""
