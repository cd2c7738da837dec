"""A test voice whose sound can be decoded back to the exact text."""
