"""`python -m resg`, for torchrun."""

from resg.cli import main

main()
