"""The token vault that AI agents ask over a message queue."""
