"""What pods are connected to: networks of hyperd's own, one of the VM's alone, or none."""
