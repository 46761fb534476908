"""Networks of VMs."""
