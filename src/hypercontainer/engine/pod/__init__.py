"""A pod: its members and its runs."""
