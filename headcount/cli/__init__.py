"""The `headcount` command: one module per group of subcommands, and what the subcommands share.

A command module imports only cyclopts and light modules of this package. Each command imports the rest of headcount
when it runs, so `headcount --help` and `headcount count` start quickly.
"""
