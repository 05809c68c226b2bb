#!/usr/bin/env python3
"""Writes the fuzz targets' seed inputs from the captured messages; run it again when messages were added there.

Each message once, in the form of each target. The targets themselves are in fuzz_targets/.
"""

import json
import pathlib
import struct

FUZZ = pathlib.Path(__file__).parent
CAPTURED = FUZZ.parent.parent / "tests" / "data" / "captured.jsonl"
MOSQUITTO = FUZZ.parent.parent / "crates" / "formats" / "tests" / "data" / "mosquitto-2.0.11-log.jsonl"

# One packet of each kind that a broker sends, for both versions of MQTT.
ANSWERS = {
    "connack": [b"\x20\x02\x01\x00", b"\x20\x03\x00\x87\x00"],
    "suback": [b"\x90\x03\x00\x01\x80", b"\x90\x04\x00\x01\x00\x8f"],
    "unsuback": [b"\xb0\x02\x00\x01", b"\xb0\x04\x00\x01\x00\x00"],
    "pingresp": [b"\xd0\x00", b"\xd0\x00"],
    "disconnect": [b"\xe0\x00", b"\xe0\x02\x8e\x00"],
}

# A message of each format that has no captured one.
FORMATS = {
    "sparkplug-birth": b"spBv1.0/plant/NBIRTH/edge\n\x08\xfb\xd0\xea\xb6\xb7\x33\x12\x0b\x0a\x05bdSeq\x20\x04\x58\x07\x18\x00",
    "sparkplug-host": b'spBv1.0/STATE/scada1\n{"online":true,"timestamp":1767225600123}',
    "aws": b'$aws/events/presence/disconnected/a\n{"timestamp":1767225590000,"sessionIdentifier":"5e0bff","versionNumber":40,"disconnectReason":"AUTH_ERROR"}',
    "nanomq": b'$SYS/brokers/client_status/a\n{"status":"online", "username":"u", "ts":1767225600123,"return_code":"0","client_id":"a"}',
    "rmqtt": b'$SYS/brokers/1/clients/a/b/disconnected\n{"clientid":"a/b","disconnected_at":1796026101171,"ipaddress":"10.0.0.9:50122","node":1,"reason":"Kicked"}',
    "emqx": b'$SYS/brokers/n@1/clients/a/b/disconnected\n{"clientid":"a/b","reason":"takenover","connected_at":1767222000500,"disconnected_at":1767225600119,"ts":1767225600131}',
    "homie5": b'homie/5/plug/$description\n{"homie":"5.0","root":"bridge","parent":"lamp"}',
    "chirpstack": b"eu868/gateway/1/state/conn\n\x10\x01\x1a\x0100",
    "mosquitto-2.1": b"$SYS/broker/log/N\n1767225731: Client a [192.0.2.10:50122] disconnected: exceeded timeout.",
}


# A profile, a zero byte, topic and payload.
PROFILES = {
    "boiler": b'[[profile]]\nname = "boiler"\ntopic = "plant/{site}/boiler/{id...}/link"\ntype = "{site}"\npayload = "json"\n'
    b'at = "/link/state"\nconnected = ["up", 1]\ndisconnected = ["down", "(missing)"]\n'
    b'\x00plant/north/boiler/hall 2/b-7/link\n{"link":{"state":"up"}}',
}


def write(target, name, data):
    directory = FUZZ / "corpus" / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


def packet(head, body):
    length, rest = bytearray(), len(body)
    while rest >= 0x80:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes([head]) + bytes(length) + body


def publish(message, version):
    topic = message["topic"].encode()
    properties = b"\x00" if version == 5 else b""
    body = struct.pack(">H", len(topic)) + topic + properties + message["payload"].encode()
    return packet(0x30 | message["retain"], body)


def main():
    for name, data in PROFILES.items():
        write("profiles", name, data)
    lines = CAPTURED.read_text().splitlines()
    messages = {(m["topic"], m["payload"]): m for m in map(json.loads, lines)}
    for number, message in enumerate(messages.values()):
        text = f"{message['topic']}\n{message['payload']}".encode()
        write("decode", f"captured-{number:03}", text)
    # One line of each wording: its last words.
    lines = map(json.loads, MOSQUITTO.read_text().splitlines())
    wordings = {message["payload"].split()[-1]: message for message in lines}
    for number, message in enumerate(wordings.values()):
        write("formats", f"mosquitto-{number:03}", f"{message['topic']}\n{message['payload']}".encode())
    for name, message in FORMATS.items():
        write("formats", name, message)
    # The other two look at the form only: a message of each shape is enough.
    shapes = {tuple(json.loads(m["payload"] or "{}")): m for m in messages.values()}
    for number, message in enumerate(shapes.values()):
        write("payload", f"captured-{number:03}", message["payload"].encode())
        write("packet", f"publish-{number:03}-v3", b"\x00" + publish(message, 3))
        write("packet", f"publish-{number:03}-v5", b"\x01" + publish(message, 5))
    for name, (old, new) in ANSWERS.items():
        write("packet", f"{name}-v3", b"\x00" + old)
        write("packet", f"{name}-v5", b"\x01" + new)


if __name__ == "__main__":
    main()
