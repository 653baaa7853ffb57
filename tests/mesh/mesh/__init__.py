"""Nodes and pods made of network namespaces, and what talks between them."""
