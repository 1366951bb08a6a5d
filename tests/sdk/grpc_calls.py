"""Makes calls with grpcio, the official gRPC library for Python, and prints what came of them.

    python grpc_calls.py '{"target":"unix:/run/gate.sock","calls":[{"method":…,"body":"0a02…","authority":…},…]}'

prints [{"ok":"…"} or {"error":{"code":…,"message":…}},…]. Bodies are protocol buffers in hexadecimal digits. An `authority` takes
the place of the one that the library makes out of the target.
"""

import json
import sys

import grpc

given = json.loads(sys.argv[1])


def call(one):
    options = [("grpc.default_authority", one["authority"])] if "authority" in one else []
    with grpc.insecure_channel(given["target"], options=options) as channel:
        method = channel.unary_unary(one["method"])
        try:
            answer = method(bytes.fromhex(one["body"]), timeout=20, metadata=[("authorization", "Bearer pat")])
        except grpc.RpcError as error:
            return {"error": {"code": error.code().name, "message": error.details()}}
        return {"ok": answer.hex()}


print(json.dumps([call(one) for one in given["calls"]]))
