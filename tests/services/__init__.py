"""The real RabbitMQ, Redis and PostgreSQL that the tests talk to: started privately, gone without a trace."""
