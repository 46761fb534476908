"""A VM and the channel into it: planned, booted or cloned, held, ended.  It needs no container."""
