"""Decides, never does: pure functions and machines, `now` is always an argument. No clock, no await, no engine names."""
