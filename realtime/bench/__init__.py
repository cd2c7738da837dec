"""`realtime bench`: every figure that README quotes, as ratios against a baseline of the same run."""
