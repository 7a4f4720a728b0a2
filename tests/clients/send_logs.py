"""OpenTelemetry's SDK sends logs over HTTP. Usage: send_logs.py URL"""

import logging
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

exporter = OTLPLogExporter(endpoint=sys.argv[1] + "/otlp/v1/logs", compression=Compression.Gzip)
resource = Resource.create({"service.name": "shop", "k8s.namespace.name": "eu", "host.name": "h-1"})
provider = LoggerProvider(resource=resource)
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))

# As a program's own logging sends them.
log = logging.getLogger("checkout")
log.addHandler(LoggingHandler(logger_provider=provider))
log.setLevel(logging.INFO)
log.info("a cart was paid", extra={"cart": 17, "express": True})
log.error("the till is stuck")

# As the SDK's own interface sends them: a structured body, ids of a trace.
provider.get_logger("events", "1.2").emit(
    LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        body={"kind": "refund", "amount": 12.5, "items": ["a", "b"], "raw": b"\x00\xff"},
        attributes={"big": 9007199254740993, "nested.key": "v"},
        trace_id=0x0123456789ABCDEF0123456789ABCDEF,
        span_id=0x0123456789ABCDEF,
    )
)
assert provider.force_flush(), "the export failed"
provider.shutdown()
print("ok")
