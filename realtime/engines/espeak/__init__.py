"""espeak-ng through espeakng-loader: the weight-free default and last resort (extra `espeak`)."""
