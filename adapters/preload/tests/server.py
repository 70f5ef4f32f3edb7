"""A server on Python's ssl, which answers each request with "hello". Usage: server.py python|asyncio PORT PEM TLSv1.2|TLSv1.3
or server.py plain PORT. `python` has a thread and a blocking socket for each connection, `asyncio` memory BIOs."""
import asyncio
import http.server
import ssl
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *arguments):
        pass


def context(pem, protocol):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    made.minimum_version = made.maximum_version = ssl.TLSVersion[protocol.replace(".", "_")]
    made.options |= ssl.OP_NO_TICKET
    return made


async def answer(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError):
        pass


async def serve(port, tls):
    server = await asyncio.start_server(answer, "127.0.0.1", port, ssl=tls)
    await server.serve_forever()


how, port = sys.argv[1], int(sys.argv[2])
if how == "asyncio":
    asyncio.run(serve(port, context(*sys.argv[3:])))
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
if how == "python":
    # The handshake in the connection's thread.
    server.socket = context(*sys.argv[3:]).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
