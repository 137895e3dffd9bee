"""Checks the configuration of an OpenTelemetry Collector: usage: collector.py FILE"""

import sys

import yaml

path = sys.argv[1]
with open(path, encoding="utf-8") as file:
    config = yaml.safe_load(file)
faults = []
used = set()
pipelines = config["service"]["pipelines"]
if set(pipelines) != {"traces", "metrics", "logs"}:
    faults.append(f"pipelines are {sorted(pipelines)}, not traces, metrics and logs")
for name, pipeline in pipelines.items():
    for kind in ("receivers", "processors", "exporters"):
        for part in pipeline[kind]:
            used.add((kind, part))
            if part not in config[kind]:
                faults.append(f"the pipeline {name} names {part}, which is not among the {kind}")
    if pipeline["receivers"] != ["otlp"]:
        faults.append(f"the pipeline {name} does not take OTLP")
    # Its documentation: first in the pipeline, so that a receiver hears of it.
    if pipeline["processors"][0] != "memory_limiter":
        faults.append(f"the pipeline {name} does not begin with memory_limiter")
for kind in ("receivers", "processors", "exporters"):
    for part in config[kind]:
        if (kind, part) not in used:
            faults.append(f"{part} among the {kind} is in no pipeline")
endpoints = {name: protocol["endpoint"]
             for name, protocol in config["receivers"]["otlp"]["protocols"].items()}
if endpoints != {"grpc": "127.0.0.1:4317", "http": "127.0.0.1:4318"}:
    faults.append(f"OTLP is taken at {endpoints}, not at the usual ports of this host")
for sentence in faults:
    print(f"deploy: {path}: {sentence}")
sys.exit(1 if faults else 0)
