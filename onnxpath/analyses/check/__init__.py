"""Gates: budgets on a pair of networks, from options or a configuration, against limits or a baseline
(docs/check.md)."""
