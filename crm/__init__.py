"""What the service is: domain, catalogue, cryptography, audit log, store, use cases."""
