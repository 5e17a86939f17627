"""Cards: issue, spend and manage gift cards."""
