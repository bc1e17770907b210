"""The `headcount` command, one module per group of subcommands."""
