"""Asks for connection states as an application of the platform does, with its unmodified package wiotp-sdk.

On stdin is JSON: key, token, port and ca_file of the service, and the questions. The answers come as JSON on stdout.
The package asks https://{organization}.{domain}/, so the domain is localhost with the port; that every name below localhost is
this machine is not known to every resolver, so this process knows it by itself.
"""

import json
import socket
import sys

import wiotp.sdk.application

resolve = socket.getaddrinfo


def resolve_localhost(host, *rest, **named):
    return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)


socket.getaddrinfo = resolve_localhost

asked = json.load(sys.stdin)
options = {
    "identity": {"appId": "test"},
    "auth": {"key": asked["key"], "token": asked["token"]},
    "options": {"domain": "localhost:%d" % asked["port"], "http": {"verify": asked["ca_file"]}},
}
states = wiotp.sdk.application.ApplicationClient(options).registry.connectionStatus


def answer(question):
    kind, argument = question
    if kind == "item":
        return states[argument]
    if kind == "in":
        return argument in states
    if kind == "all":
        return [state["id"] for state in states]
    return [state["id"] for state in states.find(**argument)]


answers = []
for question in asked["questions"]:
    try:
        answers.append(answer(question))
    except Exception as error:  # What the package makes of an error is the answer.
        about = {"error": type(error).__name__, "text": str(error)}
        about.update({name: getattr(error, name) for name in ("message", "id") if hasattr(error, name)})
        answers.append(about)
print(json.dumps(answers))
