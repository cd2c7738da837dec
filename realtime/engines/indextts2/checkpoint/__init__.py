"""Torch modules with the official key names: load, enrol, export, parity (extra `convert`)."""
