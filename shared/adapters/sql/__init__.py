"""The SQL truth, on SQLite and PostgreSQL."""
