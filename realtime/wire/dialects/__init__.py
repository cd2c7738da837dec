"""One wire dialect per file; a new one is a file, a line here and a transcript under tests/transcripts."""
