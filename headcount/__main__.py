"""`python -m headcount` is the `headcount` command."""

from .cli import main

main()
