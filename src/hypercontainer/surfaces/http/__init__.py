"""HTTP/1.1 on sockets: connections, bodies; what all surfaces that speak it have in common."""
