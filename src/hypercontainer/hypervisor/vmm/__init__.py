"""What Cloud Hypervisor and Firecracker have in common: a process under KVM, asked over HTTP, and a vsock."""
