"""prometheus-api-client asks the server what dashboards and scripts ask. Usage: ask.py URL

The server holds fed{job="a"} and fed{job="b"}, ten samples each, ten seconds apart, the last one now.
"""

import sys
from datetime import datetime, timedelta

from prometheus_api_client import PrometheusConnect

client = PrometheusConnect(url=sys.argv[1], disable_ssl=True)
now = datetime.now()

assert "fed" in client.all_metrics(), client.all_metrics()
assert sorted(client.get_label_values("job")) == ["a", "b"]
assert "job" in client.get_label_names()
assert len(client.get_series(now - timedelta(minutes=5), now, {"match[]": "fed"})) == 2

current = client.get_current_metric_value("fed", label_config={"job": "a"})
assert [row["metric"]["job"] for row in current] == ["a"], current
assert float(current[0]["value"][1]) == 1.5

answer = client.custom_query("sum(fed)")
assert float(answer[0]["value"][1]) == 3.5, answer
answer = client.custom_query_range("sum(fed)", now - timedelta(seconds=60), now, "10s")
assert len(answer[0]["values"]) == 7, answer

rows = client.get_metric_range_data("fed", start_time=now - timedelta(minutes=2), end_time=now)
# Nine or ten steps fit, by where the ends of the range fall.
assert len(rows) == 2 and all(len(row["values"]) in (9, 10) for row in rows), rows
try:
    client.custom_query("sum(")
except Exception as error:
    assert "parse error" in str(error) or "400" in str(error), error
else:
    raise AssertionError("a broken query was answered")
print("ok")
