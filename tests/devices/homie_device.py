"""A device of Homie 4, by the library Homie4.

Arguments: port, device id, keep-alive in seconds. Each line of stdin is an order, a word that `$state` may be: the device publishes it.
Each line of stdout is an order that was carried out, the first one `connected`. The end of stdin ends the process.
"""

import sys

from homie.device_switch import Device_Switch


class Switch(Device_Switch):
    def set_switch(self, onoff):
        pass


def main():
    port, name, keep_alive = sys.argv[1:]
    settings = {
        "MQTT_BROKER": "127.0.0.1",
        "MQTT_PORT": int(port),
        "MQTT_CLIENT_ID": "homie-" + name,
        "MQTT_KEEPALIVE": int(keep_alive),
    }
    device = Switch(device_id=name, name=name, mqtt_settings=settings)
    print("connected", flush=True)
    for line in sys.stdin:
        device.state = line.strip()
        print(line.strip(), flush=True)


main()
