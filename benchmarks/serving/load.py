"""The server under load, and what it does when things go wrong around it.

.venv/bin/python benchmarks/serving/load.py                       # all stages, about 25 minutes
.venv/bin/python benchmarks/serving/load.py --stages load kill    # some of them
.venv/bin/python benchmarks/serving/load.py --resume              # those that are missing
.venv/bin/python benchmarks/serving/table.py                      # figures into docs/deploy.md

load    64 clients for a minute, twice, in turn with the same pairs straight through the engine
kill    one of two workers is killed while clients ask
slow    heads and bodies that come slowly or stop, and answers that nobody takes
half    a thousand connections that end in the middle of a body
fuzz    10,000 requests that Schemathesis makes up from the server's own description
leak    ten minutes of everything, with an eye on memory

Every stage checks scores against the engine's and goes to benchmarks/results/serving.json as soon
as it is done. The machine must have nothing else to do. Needs Linux, for what /proc tells.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import resource
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.demo import machine
from benchmarks.engine.results import Results
from benchmarks.serving.clients import crowd
from benchmarks.serving.faults import half_sent, killed_worker, slow_clients
from benchmarks.serving.fuzz import fuzzed
from benchmarks.serving.leak import leaks
from benchmarks.serving.servers import serving
from benchmarks.serving.work import Bare, Served, bare_engine, read_requests

RESULTS = Path(__file__).resolve().parent.parent / "results" / "serving.json"
PACKAGES = ("rankwright", "torch", "tokenizers", "uvicorn", "fastapi", "pydantic", "schemathesis")

logger = logging.getLogger("benchmarks.serving")


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        requests: Different requests.
        documents: Documents in each.
        clients: Clients at once under load.
        seconds: Of load, each time; the bare engine runs half as long before, between and after.
        rounds: Times the load is put on.
        fault_seconds: Of the stages kill and slow.
        patience: Seconds for which the server lets a client stall in the stage slow.
        half_sent: Connections that end in the middle of a body.
        fuzz: Requests made up.
        leak_seconds: Time over which memory is watched, after a warm-up.
        least_share: Least part of the bare engine's throughput that is good enough.
    """

    requests: int = 64
    documents: int = 20
    clients: int = 64
    seconds: float = 60
    rounds: int = 2
    fault_seconds: float = 60
    patience: float = 15
    half_sent: int = 1000
    fuzz: int = 10_000
    leak_seconds: float = 600
    least_share: float = 0.9


QUICK = Plan(4, 5, 8, 1, 1, 4, 1, 30, 100, 4, 0)


def under_load(served: Served, bare: Bare, plan: Plan) -> dict[str, Any]:
    """Throughput and delay with many clients, and the bare engine's rate before and after."""
    rates, parts = [bare.rate(plan.seconds / 2)], []
    with serving(served) as server:
        asyncio.run(crowd(server.port, bare.asked, plan.clients, min(10, plan.seconds)))
        for _ in range(plan.rounds):
            before = _cpu_seconds()
            seen = asyncio.run(crowd(server.port, bare.asked, plan.clients, plan.seconds))
            parts.append((seen, _cpu_seconds() - before))
            rates.append(bare.rate(plan.seconds / 2))
        faults = server.faults()
    all_seen = [seen for seen, _ in parts]
    statuses = sum((seen.statuses for seen in all_seen), start=type(all_seen[0].statuses)())
    rate = [seen.pairs / seen.took for seen in all_seen]
    between = [mean(rates[i : i + 2]) for i in range(plan.rounds)]
    wrong = sum(seen.wrong for seen in all_seen)
    share = mean(a / b for a, b in zip(rate, between, strict=True))
    return {
        "clients": plan.clients,
        "seconds": [round(seen.took, 1) for seen in all_seen],
        "statuses": dict(statuses),
        "wrong": wrong,
        "bare_pairs_per_second": [round(r, 2) for r in rates],
        "pairs_per_second": [round(r, 2) for r in rate],
        "share_of_bare": round(share, 4),
        "p50_ms": max(seen.percentile_ms(50) or 0 for seen in all_seen),
        "p99_ms": max(seen.percentile_ms(99) or 0 for seen in all_seen),
        "client_cpu_seconds": [round(cost, 2) for _, cost in parts],
        "tracebacks": faults,
        "passed": set(statuses) <= {"200", "429"}
        and share >= plan.least_share
        and not wrong
        and not faults,
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


STAGES = {
    "load": under_load,
    "kill": lambda served, bare, plan: killed_worker(served, bare.asked, plan.fault_seconds),
    "slow": lambda served, bare, plan: slow_clients(
        served, bare.asked, plan.fault_seconds, plan.patience
    ),
    "half": lambda served, bare, plan: half_sent(served, bare.asked, plan.half_sent),
    "fuzz": lambda served, bare, plan: fuzzed(served, bare.asked, plan.fuzz),
    "leak": lambda served, bare, plan: leaks(served, bare.asked, plan.leak_seconds),
}


def header(served: str, backend: str, plan: Plan) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "model": served,
        "backend": backend,
        "plan": asdict(plan),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--resume", action="store_true", help="leave stages alone that are done")
    parser.add_argument("--model", help="folder; left out: MiniLM with a head that is not trained")
    parser.add_argument("--backend", choices=["torch", "onnx", "openvino"], default="torch")
    parser.add_argument("--sources", type=Path, help="Python files instead of the standard library")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works")
    given = parser.parse_args()
    if given.quick and given.output == RESULTS:
        parser.error("--quick gives figures that mean nothing: name another file with --output")
    return given


def main() -> None:
    """Runs the stages and writes the file after each."""
    given = arguments()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logger.setLevel(logging.INFO)
    plan = QUICK if given.quick else Plan()
    name = "MiniLM-L6, not trained" if given.model is None else Path(given.model).name
    results = Results(given.output, header(name, given.backend, plan))
    if results.dropped and given.resume:
        raise SystemExit(f"{given.output} was measured otherwise; leave out --resume.")
    missing = [s for s in given.stages if not given.resume or s not in results.rows]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        served = Served(given.model or _untrained(folder), given.backend)
        requests = read_requests(plan.requests, plan.documents, given.sources)
        with bare_engine(served, requests) as bare:
            for stage in missing:
                results.put(stage, STAGES[stage](served, bare, plan))
                logger.info("%s: %s", stage, json.dumps(results.rows[stage]))
    failed = [stage for stage in missing if not results.rows[stage]["passed"]]
    if failed:
        raise SystemExit(f"Not passed: {', '.join(failed)}.")


def _untrained(folder: str) -> str:
    """MiniLM with a new head: how fast it is does not depend on training."""
    from rankwright import CrossEncoder
    from rankwright.recipes.demo import minilm_folder

    CrossEncoder(minilm_folder(), num_labels=1).save_pretrained(folder, create_model_card=False)
    return folder


if __name__ == "__main__":
    main()
