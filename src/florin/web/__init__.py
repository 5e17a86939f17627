"""Web: the pages for people: rendered by the server, complete without JavaScript."""
