"""Devices with last wills: many clients of paho in one process, so that a test can kill or stop all of them at once.

Arguments: port, keep-alive in seconds, and `returning` or `quiet`: whether a client connects again when its connection is lost.

The first line of stdin is a JSON list of clients: id, topic, will, birth, goodbye. Further lines are orders: `leave` publishes
the goodbye and disconnects, `drop` closes every connection without a word and connects again. Each line of stdout is a state that
all clients have reached: `connected` when the broker has acknowledged every birth, `left`, and `lost` when every connection
has ended otherwise. The end of stdin ends the process.
"""

import json
import os
import selectors
import sys
import time

import paho.mqtt.client as mqtt

MISC_INTERVAL_SECONDS = 0.5
REPORTED = ("connected", "left", "lost")


class Device:
    def __init__(self, settings, port, keep_alive):
        self.settings = settings
        self.port = port
        self.keep_alive = keep_alive
        self.state = "new"
        self.awaited = None
        self.socket = None
        self.is_refused = False
        client = mqtt.Client(settings["id"], clean_session=True)
        client.will_set(settings["topic"], settings["will"], qos=1, retain=True)
        client.on_connect = self.on_connect
        client.on_publish = self.on_publish
        client.on_disconnect = self.on_disconnect
        self.client = client

    def connect(self):
        self.state = "connecting"
        try:
            self.client.connect("127.0.0.1", self.port, keepalive=self.keep_alive)
        except OSError:
            # A busy broker has not accepted the connection in time.
            self.state = "waiting"

    def publish(self, payload):
        self.awaited = self.client.publish(self.settings["topic"], payload, qos=1, retain=True).mid

    def on_connect(self, _client, _userdata, _flags, code):
        # Unavailable: RMQTT says so while it ends the connection before.
        self.is_refused = code == 3
        if self.is_refused:
            return
        if code != 0:
            sys.exit("refused with code %d" % code)
        self.publish(self.settings["birth"])

    def on_publish(self, client, _userdata, mid):
        if mid != self.awaited:
            return
        if self.state == "connecting":
            self.state = "connected"
        elif self.state == "leaving":
            client.disconnect()

    def on_disconnect(self, _client, _userdata, _code):
        if self.is_refused or self.state == "connecting":
            # Not in the fleet yet: nothing has been done to it that a test could mean.
            self.state = "waiting"
        else:
            self.state = "left" if self.state == "leaving" else "lost"

    def leave(self):
        self.state = "leaving"
        self.publish(self.settings["goodbye"])

    def drop(self):
        self.client.socket().close()


class Fleet:
    def __init__(self, devices, is_returning):
        self.devices = devices
        self.is_returning = is_returning
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.common = None

    def run(self):
        for device in self.devices:
            device.connect()
            self.watch(device)
        next_misc = time.monotonic()
        while True:
            for key, events in self.selector.select(0.1):
                if key.data is None:
                    self.obey()
                else:
                    self.serve(key.data, events)
            if time.monotonic() >= next_misc:
                next_misc = time.monotonic() + MISC_INTERVAL_SECONDS
                for device in self.devices:
                    device.client.loop_misc()
            for device in self.devices:
                if device.state == "waiting" or (device.state == "lost" and self.is_returning):
                    device.connect()
                self.watch(device)
            self.report()

    def watch(self, device):
        """Waits for what the client's present socket is ready for."""
        socket = device.client.socket()
        if socket is not device.socket:
            if device.socket is not None:
                self.selector.unregister(device.socket)
            device.socket = socket
            if socket is not None:
                self.selector.register(socket, selectors.EVENT_READ, device)
        if socket is not None and socket.fileno() >= 0:
            wanted = selectors.EVENT_READ
            if device.client.want_write():
                wanted |= selectors.EVENT_WRITE
            self.selector.modify(socket, wanted, device)

    def serve(self, device, events):
        if events & selectors.EVENT_READ:
            device.client.loop_read()
        if events & selectors.EVENT_WRITE and device.client.socket() is not None:
            device.client.loop_write()

    def obey(self):
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        for device in self.devices:
            if line.strip() == "leave":
                device.leave()
            else:
                self.selector.unregister(device.socket)
                device.drop()
                device.socket = None
                device.connect()
            self.watch(device)

    def report(self):
        states = {device.state for device in self.devices}
        common = states.pop() if len(states) == 1 else None
        if common != self.common:
            self.common = common
            if common in REPORTED:
                print(common, flush=True)


def main():
    port, keep_alive, returning = sys.argv[1:]
    settings = json.loads(sys.stdin.readline())
    devices = [Device(client, int(port), int(keep_alive)) for client in settings]
    Fleet(devices, returning == "returning").run()


main()
