"""`make bench`: what Hyper costs, beside what it is measured against, in one run, turn by turn."""
