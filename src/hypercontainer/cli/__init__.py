"""The command line ``hyper``: translates what users type into calls of the native API, and answers into text.

No policy lives here.  Modules are imported when a command needs them; ``main``, ``table`` and ``options`` are
the only ones that every command loads.
"""
