"""Requests that Schemathesis makes up from the server's own description."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from benchmarks.serving.clients import ask_once, http, is_right
from benchmarks.serving.servers import Server, serving
from benchmarks.serving.work import Asked, Served

__all__ = ["fuzzed"]

CHECK_EVERY = 250
FINE_5XX = {503, 504}
"""Documented: the server stops, or the request's own deadline (of a millisecond) has passed."""


class _Fuzzer:
    def __init__(self, server: Server, asked: Sequence[Asked], count: int) -> None:
        self.server = server
        self.asked = asked
        self.count = count
        self.statuses: Counter[int] = Counter()
        self.routes: Counter[str] = Counter()
        self.faulty: list[str] = []
        self.wrong = 0

    @property
    def done(self) -> int:
        return sum(self.statuses.values())

    def call(self, route: str, case: Any) -> None:
        """Sends one request, unless there were enough."""
        if self.done >= self.count:
            return
        answer = case.call(timeout=120)
        self.statuses[answer.status_code] += 1
        self.routes[route] += 1
        if answer.status_code >= 500 and answer.status_code not in FINE_5XX:
            self.faulty.append(f"{answer.status_code} {case.as_curl_command()}"[:500])
        if self.done % CHECK_EVERY == 0:
            self.check()

    def check(self) -> None:
        """Asks for something whose scores are known."""
        asked = self.asked[self.done // CHECK_EVERY % len(self.asked)]
        status, body = asyncio.run(ask_once(self.server.port, http(asked.body)))
        self.wrong += status != 200 or not is_right(asked, body)

    def run(self) -> None:
        """Goes round all routes, valid requests and invalid ones, until there were enough.

        Each time round, Hypothesis starts from another seed.
        """
        import hypothesis
        import schemathesis

        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{self.server.port}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
        posts = sum(operation.method.upper() == "POST" for operation in operations)
        share = max(5, -(-self.count // (2 * posts * 4)))
        seed = 0
        while self.done < self.count:
            seed += 1
            before = self.done
            for operation in operations:
                for mode in modes:
                    self._some(hypothesis, operation, mode, share, seed)
            if self.done == before:
                raise SystemExit("Schemathesis made no request.")

    def _some(self, hypothesis: Any, operation: Any, mode: Any, share: int, seed: int) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=share,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            self.call(f"{operation.method.upper()} {operation.path}", case)

        # A route without input knows no invalid request.
        with suppress(hypothesis.errors.Unsatisfiable):
            call()


def fuzzed(served: Served, asked: Sequence[Asked], count: int) -> dict[str, Any]:
    """So many made-up requests to every route; between them, known ones must be scored right."""
    with serving(served) as server:
        fuzzer = _Fuzzer(server, asked, count)
        fuzzer.run()
        fuzzer.check()
        alive = server.alive() and server.quiet()
        faults = server.faults()
    return {
        "requests": fuzzer.done,
        "routes": dict(fuzzer.routes),
        "statuses": {str(k): v for k, v in sorted(fuzzer.statuses.items())},
        "faulty": fuzzer.faulty[:20],
        "wrong": fuzzer.wrong,
        "alive": alive,
        "tracebacks": faults,
        "passed": alive and not fuzzer.faulty and not fuzzer.wrong and not faults,
    }
