"""Control: the socket of a running supervisor and the commands that it accepts."""
