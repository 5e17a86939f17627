"""HTTP: what every request passes, and what requests and responses are made of."""
