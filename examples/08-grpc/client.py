#!/usr/bin/python3
"""A client of the sensors in another language. It needs python3-grpcio and what protoc made of sensors.proto:

    protoc -I examples/08-grpc --python_out=. examples/08-grpc/sensors.proto
    tandem up examples/08-grpc/sensors.ts --port 8080
    python3 examples/08-grpc/client.py 127.0.0.1:8080
"""
import sys

import grpc
import sensors_pb2 as pb

channel = grpc.insecure_channel(sys.argv[1])


def method(kind, name, request, response):
    """What grpc_tools would write into sensors_pb2_grpc.py."""
    return getattr(channel, kind)(
        f"/sensors.Sensors/{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


put = method("unary_unary", "Put", pb.PutRequest, pb.PutResponse)
latest = method("unary_unary", "Latest", pb.LatestRequest, pb.LatestResponse)
watch = method("unary_stream", "Watch", pb.WatchRequest, pb.WatchResponse)
report = method("stream_unary", "Report", pb.ReportRequest, pb.ReportResponse)
smooth = method("stream_stream", "Smooth", pb.SmoothRequest, pb.SmoothResponse)

print("put:", put(pb.PutRequest(sensor="roof", celsius=21.5), timeout=5).count)
print("latest:", latest(pb.LatestRequest(sensor="roof"), timeout=5).value.celsius)
print("nobody:", latest(pb.LatestRequest(sensor="cellar"), timeout=5).HasField("value"))

changes = watch(pb.WatchRequest(sensor="roof"), timeout=10)
print("watch:", next(changes).celsius)
readings = [pb.ReportRequest(sensor="roof", celsius=celsius) for celsius in (22, 24, 23)]
summary = report(iter(readings), timeout=5)
print("report:", summary.taken, summary.hottest)
while next(changes).celsius != 23:
    pass
changes.cancel()

means = smooth((pb.SmoothRequest(sensor="roof", celsius=celsius) for celsius in (10, 20, 30)), timeout=5)
print("smooth:", [mean.celsius for mean in means])

try:
    put(pb.PutRequest(sensor="roof", celsius=1000), timeout=5)
except grpc.RpcError as failure:
    print("refused:", failure.code().name, failure.details())
