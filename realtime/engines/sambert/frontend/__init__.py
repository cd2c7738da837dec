"""Text to symbols, open and offline: what the closed front end of the published voices did.

    normalised text -> items (Han, Latin, marks) -> words -> readings -> prosodic words -> sandhi -> symbols

Every step keeps character positions, so each symbol knows the source characters it stands for. The rules reproduce the closed front
end's output where that is public (specification 10); elsewhere they are the standard rules of Mandarin. To fix a reading for
everybody: a line in `readings.tsv`; for one deployment: the user lexicon; for one place: `<word|pin1yin1>` in the text.
"""
