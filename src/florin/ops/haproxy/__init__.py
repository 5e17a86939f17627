"""Haproxy: HAProxy as a part of the fleet, changed while it runs and never reloaded.

`server_slots` is what it should know, `config` makes HAProxy's configuration of that, `runtime_api`
talks to the one that runs, `balancer` does what the fleet asks: admit, drain, forget, switch.
"""
