"""What Docker's users expect: defaults, plans for the guest, and how things are shown.  Imports nothing here: the
command line has a part of it."""
