"""Server: the HTTP server of one instance, and its health."""
