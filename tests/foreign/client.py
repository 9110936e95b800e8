"""A client in another language. It knows the folder `schemas/` and nothing else of Farrier: where to publish and what to bind it
reads from the AsyncAPI document, what to send it takes from the examples, and what comes it holds against the schemas.

usage: client.py SCHEMAS BROKER_URL NODE VERB [SPEC_JSON]

Prints the result, as a line of JSON, and ends with status 0 when the job succeeded.
"""

import json
import pathlib
import sys
import uuid

import jsonschema
import pika

JOB, CHANGED, RESULT = "dev.farrier.job.v1", "dev.farrier.event.job.v1", "dev.farrier.event.result.v1"


def main(schemas, broker, node, verb, spec="{}"):
    schemas = pathlib.Path(schemas)

    def check(event):
        schema = json.loads((schemas / f"{event['type']}.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(event)
        return event

    channels = json.loads((schemas / "asyncapi.json").read_text())["channels"]
    jobs = channels["jobs"]["bindings"]["amqp"]["exchange"]["name"]
    jobs_key = channels["jobs"]["address"]
    events = channels["events.result"]["bindings"]["amqp"]["exchange"]["name"]

    connection = pika.BlockingConnection(pika.URLParameters(broker))
    channel = connection.channel()
    inbox = channel.queue_declare("", exclusive=True).method.queue
    for name in ("events.result", "events.job"):
        # `result.{site}.{rack}.{node}`: every site and every rack, this node alone.
        address = channels[name]["address"].replace("{node}", node)
        key = address.replace("{site}", "*").replace("{rack}", "*")
        channel.queue_bind(inbox, events, key)

    job = json.loads((schemas / "examples" / f"{JOB}.noop.json").read_text())
    job.update(id=str(uuid.uuid4()), source="/tests/foreign-client")
    job["data"] = {"job": str(uuid.uuid4()), "node": node, "verb": verb, "spec": json.loads(spec)}
    channel.confirm_delivery()
    channel.basic_publish(
        jobs,
        jobs_key,
        json.dumps(check(job)),
        pika.BasicProperties(content_type="application/cloudevents+json", type=JOB, delivery_mode=2),
        mandatory=True,
    )

    result = None
    for _, _, body in channel.consume(inbox, auto_ack=True, inactivity_timeout=60):
        if body is None:
            sys.exit("nothing came for a minute")
        event = check(json.loads(body))
        if event["data"]["job"] != job["data"]["job"]:
            continue
        if event["type"] == RESULT:
            result = event
        if event["type"] == CHANGED and event["data"]["state"] in ("succeeded", "failed", "cancelled"):
            print(json.dumps(result))
            sys.exit(0 if event["data"]["state"] == "succeeded" else 1)


main(*sys.argv[1:])
