"""Drives a gateway with Debian's grpcio and what protoc made of `tandem gen proto`; prints one JSON object with what it saw."""
import base64
import json
import sys
import threading
import time

import grpc
import health_pb2
import reflection_pb2
import reflection_alpha_pb2
import sensors_pb2 as pb
import status_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

address = sys.argv[1]
channel = grpc.insecure_channel(address)
seen = {}


def method(kind, path, request, response):
    return getattr(channel, kind)(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)


def sensors(kind, name):
    return method(kind, f"/sensors.Sensors/{name}", getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response"))


def failure_of(call):
    try:
        call()
    except grpc.RpcError as failure:
        trailers = dict(failure.trailing_metadata() or [])
        found = {"code": failure.code().name, "details": failure.details()}
        packed = trailers.get("grpc-status-details-bin")
        if packed:
            status = status_pb2.Status.FromString(packed)
            info = status_pb2.ErrorInfo.FromString(status.details[0].value)
            found["reason"], found["metadata"] = info.reason, dict(info.metadata)
            found["types"] = [detail.type_url for detail in status.details]
            found["data"] = base64.b64encode(status.details[-1].value).decode()
        return found
    return None


put, latest = sensors("unary_unary", "Put"), sensors("unary_unary", "Latest")
answer, call = put.with_call(pb.PutRequest(sensor="roof", celsius=21.5), timeout=10)
seen["put"] = answer.count
trailers = dict(call.trailing_metadata())
seen["session"] = trailers["tandem-session"][:2]
session = [("tandem-session", trailers["tandem-session"])]
seen["latest"] = latest(pb.LatestRequest(sensor="roof"), timeout=10, metadata=session).value.celsius
seen["nobody"] = latest(pb.LatestRequest(sensor="cellar"), timeout=10).HasField("value")

again = [("idempotency-key", "once")]
seen["once"] = [put(pb.PutRequest(sensor="attic", celsius=1), timeout=10, metadata=again).count for _ in range(2)]

seen["declared"] = failure_of(lambda: put(pb.PutRequest(sensor="roof", celsius=1000), timeout=10))
seen["limit"] = pb.PutTooHot.FromString(base64.b64decode(seen["declared"].pop("data"))).limit

changes = sensors("unary_stream", "Watch")(pb.WatchRequest(sensor="roof"), timeout=20)
first = next(changes).celsius
summary = sensors("stream_unary", "Report")((pb.ReportRequest(sensor="roof", celsius=c) for c in (22, 24, 23)), timeout=10)
seen["report"] = [summary.taken, summary.hottest]
while next(changes).celsius != 23:
    pass
changes.cancel()
seen["watch"] = first
seen["empty"] = sensors("stream_unary", "Report")(iter([]), timeout=10).HasField("hottest")

gate = threading.Semaphore(1)


def slowly():
    for celsius in (10, 20, 30):
        gate.acquire()
        yield pb.SmoothRequest(sensor="roof", celsius=celsius)


means = []
for mean in sensors("stream_stream", "Smooth")(slowly(), timeout=10):
    means.append(mean.celsius)
    gate.release()
seen["smooth"] = means

calibrate = sensors("unary_unary", "Calibrate")
began = time.monotonic()
seen["late"] = failure_of(lambda: calibrate(pb.CalibrateRequest(seconds=30), timeout=0.3))["code"]
seen["lateSeconds"] = time.monotonic() - began
pending = calibrate.future(pb.CalibrateRequest(seconds=30), timeout=30)
time.sleep(0.2)
pending.cancel()
seen["cancelled"] = pending.cancelled()

nothing = method("unary_unary", "/sensors.Sensors/Nothing", pb.PutRequest, pb.PutResponse)
seen["unknown"] = failure_of(lambda: nothing(pb.PutRequest(), timeout=10))["code"]

health = "/grpc.health.v1.Health/"
check = method("unary_unary", f"{health}Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
watching = method("unary_stream", f"{health}Watch", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
seen["health"] = [check(health_pb2.HealthCheckRequest(service=s), timeout=10).status for s in ("", "sensors.Sensors")]
seen["noHealth"] = failure_of(lambda: check(health_pb2.HealthCheckRequest(service="no"), timeout=10))["code"]
watched = watching(health_pb2.HealthCheckRequest(service="sensors"), timeout=10)
seen["healthWatch"] = next(watched).status
watched.cancel()


def reflected(version, module):
    info = method(
        "stream_stream",
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        module.ServerReflectionRequest,
        module.ServerReflectionResponse,
    )
    asked = [
        module.ServerReflectionRequest(list_services=""),
        module.ServerReflectionRequest(file_containing_symbol="sensors.Sensors"),
        module.ServerReflectionRequest(file_by_filename="sensors.proto"),
        module.ServerReflectionRequest(file_containing_symbol="sensors.Nothing"),
        module.ServerReflectionRequest(
            file_containing_extension=module.ExtensionRequest(containing_type="sensors.PutRequest", extension_number=1)
        ),
    ]
    listed, by_symbol, by_name, none, extension = list(info(iter(asked), timeout=10))
    pool = descriptor_pool.DescriptorPool()
    for data in by_symbol.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
    service = pool.FindServiceByName("sensors.Sensors")
    return {
        "services": [one.name for one in listed.list_services_response.service],
        "methods": [one.name for one in service.methods],
        "same": by_name.file_descriptor_response == by_symbol.file_descriptor_response,
        "echo": by_name.original_request == asked[2],
        "none": [none.error_response.error_code, extension.error_response.error_code],
    }


seen["v1"] = reflected("v1", reflection_pb2)
seen["v1alpha"] = reflected("v1alpha", reflection_alpha_pb2)
print(json.dumps(seen))
