"""Characters to speakable segments. Pure: no clocks, no IO, no numpy; imports only `realtime.types` and `realtime.errors`.

`segmenter` (with `scan`, `boundaries`, `words`, `language`) cuts text chunks into segments; `markup` and `normalize` (with `rules*`,
`numbers`, `edits`) turn a segment into words; `speakable` is the way in: `Preparer` gives every form an engine asks for, `warm_up`
loads the dictionaries. A new language is a row in `boundaries.LANGUAGES` and a list of rules in `normalize.RULES`.
"""
