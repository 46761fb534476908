"""hyperd: the process that has the engine and serves the API.

It is one per root and run directory, which locks prove; it leaves pods running when it ends, however it ends.
"""
