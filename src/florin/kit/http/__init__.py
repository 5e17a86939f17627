"""HTTP: the middleware of every request, and the parsing of requests and responses."""
