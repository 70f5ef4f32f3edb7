#!/usr/bin/env python3
"""How long requests take on connections that are already open, for bench-gate.

Usage: open-connections.py PORT CONNECTIONS REQUESTS_PER_S SECONDS PATH
Opens the connections, says "open", then asks for PATH on one after the other, at fixed moments; a request that has to
wait for the one before counts from when it was to be sent. Prints requests, p50_us, p99_us, max_us.
"""
import socket
import ssl
import sys
import time

port, n_connections, rate, seconds = map(int, sys.argv[1:5])
path = sys.argv[5]
REQUEST = f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode()


def connect():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(('127.0.0.1', port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain)


def ask(connection):
    connection.sendall(REQUEST)
    answer = b''
    while b'\r\n\r\n' not in answer:
        answer += connection.recv(65536) or sys.exit('open-connections: the server closed a connection')
    head, _, body = answer.partition(b'\r\n\r\n')
    lengths = [line for line in head.split(b'\r\n') if line.lower().startswith(b'content-length:')]
    left = int(lengths[0].split(b':')[1]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536)) or sys.exit('open-connections: the server closed a connection')


connections = [connect() for _ in range(n_connections)]
for connection in connections:
    ask(connection)
print('open', flush=True)
latencies_us = []
start = time.monotonic()
for i in range(rate * seconds):
    planned = start + i / rate
    time.sleep(max(planned - time.monotonic(), 0))
    ask(connections[i % n_connections])
    latencies_us.append((time.monotonic() - planned) * 1e6)
latencies_us.sort()
print(len(latencies_us), *(round(latencies_us[int(q * (len(latencies_us) - 1))]) for q in (0.5, 0.99, 1)))
