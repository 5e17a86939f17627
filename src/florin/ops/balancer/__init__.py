"""Balancer: HAProxy as a part of the fleet, changed while it runs and never reloaded.

`facts` is what it should know, `render` makes HAProxy's configuration of that, `socket` talks to
the one that runs, `balancer` does what the fleet asks: admit, drain, forget, switch.
"""
