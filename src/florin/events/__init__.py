"""Events: what happened, kept in order, listed and streamed."""
