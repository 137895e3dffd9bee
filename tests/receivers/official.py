"""Takes OTLP over gRPC and HTTP by the official protobufs, and prints what it got, a JSON line each.

The first line has the two ports. It ends with its standard input.
"""

import gzip
import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

turn = threading.Lock()


def tell(line):
    with turn:
        print(json.dumps(line), flush=True)


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes(pairs):
    keys = [pair.key for pair in pairs]
    assert len(keys) == len(set(keys)), f"twice: {keys}"
    return {pair.key: plain(pair.value) for pair in pairs}


def span(told):
    return {
        "trace": told.trace_id.hex(),
        "span": told.span_id.hex(),
        "parent": told.parent_span_id.hex(),
        "flags": told.flags,
        "name": told.name,
        "kind": told.kind,
        "start": told.start_time_unix_nano,
        "end": told.end_time_unix_nano,
        "status": [told.status.code, told.status.message],
        "attributes": attributes(told.attributes),
        "events": [[event.name, event.time_unix_nano] for event in told.events],
        "links": [
            {
                "trace": link.trace_id.hex(),
                "span": link.span_id.hex(),
                "attributes": attributes(link.attributes),
            }
            for link in told.links
        ],
    }


def exemplar(told):
    return {"trace": told.trace_id.hex(), "span": told.span_id.hex(), "value": told.as_double}


def points(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    for point in data.data_points:
        line = {
            "name": metric.name,
            "unit": metric.unit,
            "description": metric.description,
            "kind": kind,
            "temporality": getattr(data, "aggregation_temporality", 0),
            "monotonic": getattr(data, "is_monotonic", False),
            "attributes": attributes(point.attributes),
            "start": point.start_time_unix_nano,
            "end": point.time_unix_nano,
        }
        if kind == "exponential_histogram":
            line |= {
                "count": point.count,
                "sum": point.sum,
                "max": point.max,
                "scale": point.scale,
                "zeros": point.zero_count,
                "offset": point.positive.offset,
                "buckets": list(point.positive.bucket_counts),
                "exemplars": [exemplar(told) for told in point.exemplars],
            }
        else:
            line["value"] = getattr(point, point.WhichOneof("value"))
        yield line


def log(told):
    return {
        "event": told.event_name,
        "severity": [told.severity_number, told.severity_text],
        "body": plain(told.body),
        "time": told.time_unix_nano,
        "observed": told.observed_time_unix_nano,
        "trace": told.trace_id.hex(),
        "span": told.span_id.hex(),
        "attributes": attributes(told.attributes),
    }


def take(protocol, request):
    size = request.ByteSize()
    request.DiscardUnknownFields()
    assert request.ByteSize() == size, "there are fields that the official protobufs do not know"
    about = lambda group: {
        "protocol": protocol,
        "resource": attributes(group.resource.attributes),
    }
    for group in getattr(request, "resource_spans", []):
        for scope in group.scope_spans:
            for told in scope.spans:
                tell(about(group) | {"signal": "span", "scope": scope.scope.name} | span(told))
    for group in getattr(request, "resource_metrics", []):
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                for point in points(metric):
                    tell(about(group) | {"signal": "metric", "scope": scope.scope.name} | point)
    for group in getattr(request, "resource_logs", []):
        for scope in group.scope_logs:
            for told in scope.log_records:
                tell(about(group) | {"signal": "log", "scope": scope.scope.name} | log(told))


SIGNALS = {
    "/v1/traces": (
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
    ),
    "/v1/metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
    ),
    "/v1/logs": (
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
    ),
}


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request, response = SIGNALS[self.path]
        assert self.headers["content-type"] == "application/x-protobuf"
        take("http", request.FromString(body))
        answer = response().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def exporter(base, response):
    class Service(base):
        def Export(self, request, context):
            take("grpc", request)
            return response()

    return Service()


http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
threading.Thread(target=http.serve_forever, daemon=True).start()
server = grpc.server(futures.ThreadPoolExecutor(4))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
    exporter(
        trace_service_pb2_grpc.TraceServiceServicer, trace_service_pb2.ExportTraceServiceResponse
    ),
    server,
)
metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
    exporter(
        metrics_service_pb2_grpc.MetricsServiceServicer,
        metrics_service_pb2.ExportMetricsServiceResponse,
    ),
    server,
)
logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
    exporter(logs_service_pb2_grpc.LogsServiceServicer, logs_service_pb2.ExportLogsServiceResponse),
    server,
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
tell({"grpc": port, "http": http.server_port})
sys.stdin.read()
server.stop(1).wait()
