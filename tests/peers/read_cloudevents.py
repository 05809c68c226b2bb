"""Reads CloudEvents with the official package cloudevents.

On stdin is JSON: a list of {"content_type": ..., "body": ...}. For each event a line of JSON on stdout: its attributes and data. The
package refuses an event without the attributes that the specification requires.
"""

import json
import sys

from cloudevents.http import from_http

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"

for message in json.load(sys.stdin):
    events = [message["body"]]
    if message["content_type"] == BATCHED:
        # The package has no reader of batches: each of their items is an event in the structured mode.
        events = [json.dumps(event) for event in json.loads(message["body"])]
    elif message["content_type"] != STRUCTURED:
        raise SystemExit(f"no content type of CloudEvents: {message['content_type']}")
    for body in events:
        event = from_http({"content-type": STRUCTURED}, body)
        print(json.dumps({**event.get_attributes(), "data": event.get_data()}))
