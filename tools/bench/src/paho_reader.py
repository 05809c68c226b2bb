"""Reads the retained messages of a broker on loopback for so many seconds and prints them, a topic and a payload a line.

Arguments: port, client id, topic filter, seconds. As a user of the platform's Python packages does it: a callback that keeps
the latest message of each topic.
"""

import sys
import threading

import paho.mqtt.client as mqtt


def main():
    port, client_id, topic_filter, seconds = sys.argv[1:]
    latest = {}

    def on_connect(client, _userdata, _flags, code):
        if code != 0:
            sys.exit("refused with code %d" % code)
        client.subscribe(topic_filter, qos=0)

    def on_message(_client, _userdata, message):
        latest[message.topic] = message.payload

    client = mqtt.Client(client_id)
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    threading.Event().wait(float(seconds))
    client.loop_stop()
    for topic, payload in latest.items():
        sys.stdout.buffer.write(topic.encode() + b" " + payload + b"\n")


main()
