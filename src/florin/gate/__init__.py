"""Gate: tests of a deployment by a merchant of its own: instances, requests and money."""
