"""The commands, a module for each family; ``cli/table.py`` says which verb is where."""
