"""HAProxy as a part of the fleet: reconfigured while it runs, never reloaded.

`server_slots` has its wanted state, `config` renders HAProxy's configuration from it, `runtime_api`
sends commands to the running HAProxy, `balancer` admits, drains and forgets instances and switches
the algorithm.
"""
