"""Keep every grant fresh."""
