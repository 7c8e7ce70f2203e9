"""The query and the documents of these tests, in words that the tiny models know."""

from __future__ import annotations

QUERY = "how do i sort a list of files"
TEXTS = ["close the file", "sort a list of files by name", "user table row", "open the table"]
