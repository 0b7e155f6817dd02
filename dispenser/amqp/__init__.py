"""AMQP 0-9-1 past the driver's objects: what agents' connections and dispensers' have in common."""
