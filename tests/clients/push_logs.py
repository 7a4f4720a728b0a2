"""python-logging-loki ships a program's log as JSON over Loki's push API. Usage: push_logs.py URL"""

import logging
import sys

import logging_loki

handler = logging_loki.LokiHandler(
    url=sys.argv[1] + "/loki/api/v1/push", tags={"application": "till"}, version="1"
)
failed = []
handler.handleError = lambda record: failed.append(sys.exc_info())
log = logging.getLogger("payments")
log.setLevel(logging.INFO)
log.addHandler(handler)
log.info("one payment", extra={"tags": {"region": "eu"}})
log.warning('a line with "quotes", a\ttab and ünïcödé')
for number in range(50):
    log.error("number %d", number)
assert not failed, failed
print("ok")
