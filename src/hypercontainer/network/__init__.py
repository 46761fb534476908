"""Networks of pods: a namespace with bridges, addresses, rules, names; see docs/networks.md."""
