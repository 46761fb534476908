"""VMs on VMware ESX hosts, by vCenter or a host's own API."""
