"""A device that is nothing but paho-python: connects by mTLS, listens on its own topic, says hello the
first time, and tells of one event on each connection. Prints a line for each thing that happened. Runs until it is ended.

Arguments: port, file of the CA, certificate, key, device id, hello message."""
import json
import sys

import paho.mqtt.client as mqtt

port, ca, certificate, key, device, hello = sys.argv[1:]
root = f"fleetseal/v1/{device}"
state = {"no": 0, "event": None}


def say(what):
    print(f"{what} {state['no']}", flush=True)


def connected(client, _data, _flags, _code, *_more):
    state["no"] += 1
    client.subscribe(f"{root}/bundle", qos=1)


def subscribed(client, *_more):
    say("subscribed")
    if state["no"] == 1:
        client.publish(f"{root}/hello", hello, qos=1)
    event = {"kind": "outage", "detail": f"{state['no']}", "at": "2026-11-26T12:00:00.000Z"}
    state["event"] = client.publish(f"{root}/event", json.dumps(event), qos=1).mid


def published(_client, _data, mid, *_more):
    if mid == state["event"]:
        say("acknowledged")


# Since 2.0 it wants to be told which arguments the callbacks take; these take both.
versions = getattr(mqtt, "CallbackAPIVersion", None)
first = [versions.VERSION2] if versions else []
client = mqtt.Client(*first, client_id=device, clean_session=True, protocol=mqtt.MQTTv311)
client.tls_set(ca_certs=ca, certfile=certificate, keyfile=key)
client.reconnect_delay_set(1, 1)
client.on_connect = connected
client.on_subscribe = subscribed
client.on_publish = published
client.on_message = lambda *_: say("told")
client.on_disconnect = lambda *_: say("closed")
client.connect("localhost", int(port), keepalive=60)
client.loop_forever()
