"""Docker's Engine API (docs/docker-compat.md): requests become calls of the engine, answers are Docker's, in the shape
of the version that was asked for.

Modules: ``api`` is the surface, ``routes`` the table of calls, ``versions`` what differs by version, ``call`` and
``query`` what has been read of a request, ``wording`` errors.  Handlers stand by the things that they are about.
"""
