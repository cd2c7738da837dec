"""Async Python client of the native protocol."""
