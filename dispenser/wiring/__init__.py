"""Puts adapters behind ports and workers into processes: the one place that knows both."""
