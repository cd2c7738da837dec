"""Model files on this machine: pull, verify, export, list."""
