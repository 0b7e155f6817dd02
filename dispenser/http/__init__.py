"""The HTTP door: agents' requests, the admin API, owners' pages. It translates and decides nothing."""
