"""Planning: pure functions from the observed state to the steps to take."""
