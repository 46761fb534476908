"""Signatures of images: what a policy asks for, and whether what a registry has satisfies it.

Nothing here speaks to anybody: `hypercontainer.image.signatures` brings the documents.
"""
