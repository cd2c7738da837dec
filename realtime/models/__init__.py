"""Model files on this machine: pull, verify, export, list, parity.

Layout under the data directory: `models/<engine>/<name>/manifest.json` with the exported files beside it (what engines load), and
`models/.snapshots/<hub>/<repo>/<revision>/` with published files as they were downloaded. May import `config`; engines are reached
through the table in `engines.py`, so nothing here knows what is inside a model. To add an engine: one line in that table.
"""
