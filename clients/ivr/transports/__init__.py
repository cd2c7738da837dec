"""One phone transport per file, behind the `Call` interface."""
