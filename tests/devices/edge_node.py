"""An edge node of Sparkplug B with its devices, by pysparkplug.

Arguments: port, group, node, keep-alive in seconds, devices. Each line of stdin is an order: `data` publishes a value of the
node, `register ID` and `deregister ID` add and remove a device, `leave` disconnects. Each line of stdout is an order that was carried out,
the first one `connected`. The end of stdin ends the process.
"""

import sys

import pysparkplug as sparkplug


def number(name, value):
    return sparkplug.Metric(
        timestamp=sparkplug.get_current_timestamp(), name=name, datatype=sparkplug.DataType.INT32, value=value
    )


def device(name):
    return sparkplug.Device(name, [number("speed", 1)])


def main():
    port, group, name, keep_alive, *devices = sys.argv[1:]
    client = sparkplug.Client(client_id="node-" + name)
    node = sparkplug.EdgeNode(group, name, [number("load", 1)], client=client)
    for each in devices:
        node.register(device(each))
    node.connect("127.0.0.1", port=int(port), keepalive=int(keep_alive))
    print("connected", flush=True)
    for line in sys.stdin:
        order, _, argument = line.strip().partition(" ")
        if order == "data":
            node.update([number("load", 2)])
        elif order == "register":
            node.register(device(argument))
        elif order == "deregister":
            node.deregister(argument)
        elif order == "leave":
            node.disconnect()
        print(order, flush=True)


main()
