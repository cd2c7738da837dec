"""Worker processes: what they are told, what they answer, and the pool that keeps them alive."""
