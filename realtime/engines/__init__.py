"""Segment to sound; synchronous, runs only inside a worker process. A new engine is a folder and a line in registry.py."""
