"""How a pod's containers are begun, watched and ended: probes, hooks, order, last words.

Everything here is told what it needs (a way to connect, a way to execute, a clock) and knows neither records nor
VMs, so that all of it is tested without them.
"""
