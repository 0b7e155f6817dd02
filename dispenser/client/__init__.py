"""What agents import to ask the vault for access tokens, over RabbitMQ or HTTP."""
