"""Verifies deliveries with the official package standardwebhooks.

On stdin is JSON: a list of {"secret": ..., "headers": {...}, "body": ...}. For each, a line on stdout: "verified", or why not.
The package refuses a timestamp that is more than five minutes from now.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for delivery in json.load(sys.stdin):
    try:
        Webhook(delivery["secret"]).verify(delivery["body"], delivery["headers"])
        print("verified")
    except WebhookVerificationError as error:
        print(error)
