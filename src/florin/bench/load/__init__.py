"""Load: the clients that send requests to the measured servers."""
