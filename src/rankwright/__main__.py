"""`python -m rankwright`: the command line."""

from __future__ import annotations

from rankwright.cli.main import main

main()
