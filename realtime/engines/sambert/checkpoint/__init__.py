"""Torch modules with the official key names: load, export, parity (extra `convert`)."""
