"""A thin, blocking client of hyperd's native API (docs/api.md): what the command line stands on.

It imports next to nothing (no asyncio, no msgspec, no ``http.client``), since starting Python is most of what a
short command costs.
"""
