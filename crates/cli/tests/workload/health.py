# A gRPC server that answers every question about health with SERVING, and nothing else.
import socket, struct, sys


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def header(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def serve(connection):
    exactly(connection, 24)
    connection.sendall(frame(4, 0, 0, b""))
    while True:
        head = exactly(connection, 9)
        body = exactly(connection, int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0, b""))
        if kind == 0 and flags & 1:
            print("asked", body[5:], flush=True)
            answer = b"\x88" + header(b"content-type", b"application/grpc")
            connection.sendall(
                frame(1, 4, stream, answer)
                + frame(0, 0, stream, b"\0\0\0\0\2\x08\1")
                + frame(1, 5, stream, header(b"grpc-status", b"0"))
            )


listener = socket.create_server(("", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    try:
        serve(connection)
    except (EOFError, OSError):
        pass
