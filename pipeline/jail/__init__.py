"""Tenants' text runs here: compiled and rendered in processes that can do nothing else (docs/decisions/0021).

`renderer` is what the rest of the house asks. `child` is the program of those processes, with `desk` and `limits`; `pool`
says which of them does what, with `place`, `process`, `turns` and `blame`; `frames` and `work` are what is said between.
Nothing is imported here: the child needs a third of it, and starts in a tenth of a second.
"""
