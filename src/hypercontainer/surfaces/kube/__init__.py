"""Kubernetes' manifests: pods, volumes and services of them."""
