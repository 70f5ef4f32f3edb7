#!/usr/bin/python3
"""A server behind nginx that accepts any upgrade: answers 101, and then sends back what it gets.

Usage: upgrade-server.py SOCKET; one connection.
"""
import socket
import sys

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
connection, _ = listener.accept()
head = b""
while b"\r\n\r\n" not in head:
    head += connection.recv(4096)
connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nwelcome\n")
connection.sendall(connection.recv(4096))
connection.close()
