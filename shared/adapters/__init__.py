"""The drivers behind the ports. Only wiring imports them; they see sealed bytes only."""
