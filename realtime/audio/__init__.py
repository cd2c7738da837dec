"""Samples to frames: codecs, resampling, packets, splices, features. Pure numpy; may import only types and errors."""
