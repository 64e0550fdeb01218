"""`python -m resg`: what torchrun starts, and the same as the command `resg`."""

from resg.cli import main

main(prog_name="resg")
