"""What Prometheus's own parser makes of an OpenMetrics text.

The text is on stdin; each family is a line on stdout, {"name": ..., "kind": ..., "help": ..., "labels": [...], "values": [...]}, with
the names of the labels that are ours and every value that these have. A text that is not OpenMetrics ends in a traceback.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    labels = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            if name != "le":
                labels.setdefault(name, set()).add(value)
    print(json.dumps({
        "name": family.name,
        "kind": family.type,
        "help": family.documentation,
        "labels": sorted(labels),
        "values": sorted(set().union(*labels.values())),
    }))
