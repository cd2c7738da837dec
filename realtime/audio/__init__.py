"""Samples to frames: codecs, resampling, packets, splices, features. Pure numpy; may import only types and errors.

- `codecs` the table of formats: `make_encoder`, `make_decoder`, `is_supported`; one family per file (`pcm`, `g711`, `opus`, `ogg`, `mpeg`,
  `flac`), all behind the contract in `encoder`, the packet ones over `libav`. A new codec is its file and one row in `codecs.CODECS`.
- `resample` rates, `packetize` fixed frames, `splice` the join of two voices.
- `levels` loudness, silence, garbage, clicks; `features` log-mel and MFCC for the aligner.
- `samples` the house form of sound, `wavfile` files for clients.

Sound is mono float32 [n], full scale 1.0, everywhere.
"""
