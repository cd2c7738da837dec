"""Characters to speakable segments. Pure: no clocks, no IO, no numpy."""
