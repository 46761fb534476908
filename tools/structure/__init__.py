"""The rules of ``tools/check_structure.py``, one a module; ``house.py`` reads what they look at, ``tables.py`` says
what is allowed."""
