"""Starlette: sockets and HTTP around the pipeline."""
