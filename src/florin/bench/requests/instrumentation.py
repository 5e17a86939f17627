"""Instrumentation: what metrics, the access log and traces add to the CPU of a redemption.

Two instances on one server take turns under the same load: one as in production, one without the
part that is measured. The figure is the CPU of the API per request, with over without.
"""

from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchInstance
from florin.bench.environment.trace_sink import TraceSink, trace_sink
from florin.bench.environment.uninstrumented import REMOVALS
from florin.bench.requests.result import Round
from florin.bench.requests.runner import BenchmarkRun, print_round, settle
from florin.ops.system.console import OperatorError, voice

TRACED_RATIO = "0.01"


async def compare_instrumentation(run: BenchmarkRun) -> tuple[list[Dataset], list[Round]]:
    """Measure without, with and without, in each round."""
    terms, bench = run.terms, run.bench
    dataset = await make_dataset(bench, cards=terms.card_count)
    await settle(bench, dataset)
    async with trace_sink() as sink:
        measured, bare = await _start_pair(run, sink)
        await run.warm(dataset, [measured])
        await run.warm(dataset, [bare])
        rounds: list[Round] = []
        for number in range(1, terms.rounds + 1):
            voice.status(f"Round {number} of {terms.rounds} …")
            before = await run.drive(dataset, [bare])
            done = await run.drive(dataset, [measured])
            after = await run.drive(dataset, [bare])
            rounds.append(Round(drive=done, baseline=(before, after)))
            print_round(number, rounds[-1])
        if terms.name == "traces" and not sink.requests:
            raise OperatorError("No trace was exported; the run measured nothing.")
    return [dataset], rounds


async def _start_pair(run: BenchmarkRun, sink: TraceSink) -> tuple[BenchInstance, BenchInstance]:
    """Start the instance that is measured, and the one to compare it with."""
    bench, name = run.bench, run.terms.name
    if name == "traces":
        exporting = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_TRACES_SAMPLER_ARG": TRACED_RATIO,
        }
        return await bench.start_instance(settings=exporting), await bench.start_instance()
    assert name in REMOVALS
    module = ("florin.bench.environment.uninstrumented", name)
    return await bench.start_instance(), await bench.start_instance(module=module)
