"""OpenTelemetry's SDK sends metrics of every kind over HTTP. Usage: send_metrics.py URL"""

import sys

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

exporter = OTLPMetricExporter(endpoint=sys.argv[1] + "/api/v1/otlp/v1/metrics", compression=Compression.Gzip)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
resource = Resource.create(
    {
        "service.name": "shop",
        "service.namespace": "eu",
        "service.instance.id": "i-1",
        "deployment.environment": "test",
    }
)
views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
provider = MeterProvider(resource=resource, metric_readers=[reader], views=views)
metrics.set_meter_provider(provider)
meter = metrics.get_meter("checkout")

sold = meter.create_counter("items.sold", unit="{item}", description="Items sold.")
sold.add(3, {"kind": "book"})
sold.add(4, {"kind": "book"})
sold.add(1, {"kind": "pen"})
meter.create_up_down_counter("carts.open").add(2)
duration = meter.create_histogram("request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0, 10.0])
for seconds in (0.05, 0.5, 0.5, 5.0, 50.0):
    duration.record(seconds, {"route": "/buy"})
meter.create_observable_gauge("pool.usage", callbacks=[lambda _: [Observation(0.25)]], unit="1")
meter.create_histogram("exponential").record(1.0)

assert provider.force_flush(), "the export failed"
provider.shutdown()
print("ok")
