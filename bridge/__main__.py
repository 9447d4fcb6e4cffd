"""`python -m bridge`: the same as the console script, for processes that start others of their kind."""

from bridge.cli.main import main

main(prog_name="bridge")
