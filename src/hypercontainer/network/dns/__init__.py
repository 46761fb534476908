"""The DNS server that hyperd runs on the gateway address of each network of pods.

`message` and `records` are bytes in, bytes out; `zone` is what the server asks about names of its own; `upstream` asks
the host's name servers for all others; `server` has the sockets.
"""
