"""Run the `headcount` command as `python -m headcount`."""

from headcount.cli.main import main

main()
