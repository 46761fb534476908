"""HTTP/1.1 on sockets: connections, routes, bodies, answers; what all surfaces that speak it have in common.

A surface is an object that says what a request comes to, and how an error is told (``server.Surface``).
"""
