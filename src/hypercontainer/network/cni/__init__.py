"""The Container Network Interface: networks that programs of others make, which are called by its specification."""
