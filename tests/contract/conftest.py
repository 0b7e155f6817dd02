"""Fixtures of the ports under contract, one line a port."""

from contract.stores import empty_store_url, other_store, store, store_url

__all__ = ["empty_store_url", "other_store", "store", "store_url"]
