"""The metrics of a fleet as one document."""

from prometheus_client.parser import text_string_to_metric_families

from florin.ops.haproxy import metrics
from tests.ops.haproxy.stub_instances import standins

TEXT = """\
# HELP requests_total Answered.
# TYPE requests_total counter
requests_total{route="/a",status="200"} 3.0
requests_total{route="say \\"{}\\"",status="200"} 1.0
# HELP open Open.
# TYPE open gauge
open 2.0
"""


def test_every_sample_is_there_once_with_its_instance() -> None:
    text = metrics.merge_metrics(
        {"api-1": TEXT, "api-2": TEXT.replace("3.0", "4.0"), "api-3": None}
    )
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = {
        (sample.name, sample.labels["instance"], sample.labels.get("route")): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert found == {
        ("florin_instance_up", "api-1", None): 1,
        ("florin_instance_up", "api-2", None): 1,
        ("florin_instance_up", "api-3", None): 0,
        ("requests_total", "api-1", "/a"): 3,
        ("requests_total", "api-2", "/a"): 4,
        ("requests_total", "api-1", 'say "{}"'): 1,
        ("requests_total", "api-2", 'say "{}"'): 1,
        ("open", "api-1", None): 2,
        ("open", "api-2", None): 2,
    }
    assert families["requests"].type == "counter"
    assert text.count("# TYPE requests_total") == 1


async def test_an_instance_that_does_not_answer_is_reported_as_down() -> None:
    async with standins("a") as fleet:
        await fleet["a"].die()
        text = await metrics.collect_metrics({"a": fleet["a"].address})
    assert 'florin_instance_up{instance="a"} 0' in text
