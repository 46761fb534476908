"""Docker's API, as far as it is served, as an OpenAPI 3.1 document for each version: the tests hold every answer
against it, and clients can be made of it.  hyperd does not load this.  Run as a program
(``python -m hypercontainer.surfaces.docker.openapi 1.47``), it prints the document of a version.

The source is data, the files ``*.yaml`` beside this one, of all versions in one.  ``notation`` reads it:

A field of a type is ``NAME: TYPE WORDS``.  TYPE is string, integer, number, boolean, any, object (an empty one), time,
id, digest, apiversion or the name of a type; ``[T]`` is a list, ``{T}`` a map by name, ``T?`` may be null.  ``also: T``
are the fields of another type too.  An object has no fields but those that stand here.
Words: ``optional`` may be absent; ``optional=1.52`` may be from that version on; ``since=1.44`` is the first version
that has it, ``until=1.52`` the first that has it no longer; ``null-until=1.43`` may be null before that;
``one-of=a,b``.

A call is METHOD PATH with ``query``, ``body`` (a type, of which all may be left out) or ``takes`` (a media type), its
statuses, and ``errors``: the statuses that it has beside `notation.COMMON_ERRORS`, as an ErrorAnswer.  A status has a
TYPE, which is JSON; ``lines TYPE``, JSON values one after the other; ``bytes MEDIA..``, of which ``none`` is no
Content-Type; ``text``, ``nothing`` or ``upgrade PROTOCOL``.  ``MEDIA>=1.42`` is of that version on.  ``headers`` are
in the answer; ``refuses`` says in which media types an error may be that is no JSON.
"""
