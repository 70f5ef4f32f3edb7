#!/usr/bin/python3
"""A TLS client that ends badly after its request was answered.

Usage: bad-client.py PORT 1.2|1.3 reset|garbage|silence SESSION
  reset    the connection is reset, with no close_notify
  garbage  a record that no key fits: the server has to send a fatal alert
  silence  closed without a close_notify

The bad end is to come on a connection that uses the session in file SESSION, which OpenSSL's command can
resume and Python cannot; so this drives `openssl s_client` through a proxy that it is itself.
"""
import socket
import struct
import subprocess
import sys
import threading

port, version, how, session = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

listener = socket.create_server(("127.0.0.1", 0))
client = subprocess.Popen(
    ["openssl", "s_client", "-connect", "127.0.0.1:%d" % listener.getsockname()[1],
     "-tls" + version.replace(".", "_"), "-sess_in", session, "-ign_eof"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
downstream, _ = listener.accept()
upstream = socket.create_connection(("127.0.0.1", port))


def forward():
    """What the client sends, to the server."""
    try:
        while data := downstream.recv(65536):
            upstream.sendall(data)
    except OSError:
        pass


def back():
    """What the server sends, to the client."""
    try:
        while data := upstream.recv(65536):
            downstream.sendall(data)
    except OSError:
        pass


threads = [threading.Thread(target=f, daemon=True) for f in (forward, back)]
for thread in threads:
    thread.start()
client.stdin.write(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
client.stdin.flush()
said = b""
while b"hello\n" not in said.partition(b"HTTP/1.1 200")[2]:
    data = client.stdout.read1()
    if not data:
        sys.exit("the server did not answer")
    said += data
if b"Reused, TLS" not in said:
    sys.exit("the session was not resumed")

if how == "garbage":
    # An application data record of 64 bytes that are no ciphertext of these keys.
    upstream.sendall(b"\x17\x03\x03\x00\x40" + b"x" * 64)
    threads[1].join()  # until the server has closed
elif how == "reset":
    upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
upstream.shutdown(socket.SHUT_RDWR) if how == "silence" else upstream.close()
client.kill()
client.wait()
