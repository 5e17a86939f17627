"""Events: a record of every change, in order, as a list and as a stream."""
