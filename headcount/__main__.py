"""`python -m headcount` is the `headcount` command."""

from headcount.cli.main import main

main()
