"""Load: the clients that send requests to what is measured."""
