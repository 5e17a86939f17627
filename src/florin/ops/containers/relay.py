"""Relay: a program that runs in a container of the fleet and asks what only its networks reach.

`florin deploy` gives it to Python in the operator's container, whose release may be another: so it
is one file that uses the standard library only. It gets one argument, a JSON list of questions, and
prints the answers as a JSON list: `{"get": "http://…"}` becomes `[status, text]` (status 0: no
answer), and `{"host": …, "port": …, "command": …}` what HAProxy answers, or null.
"""

import http.client
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

_WITHIN_S = 3.0


def ask_http(url: str) -> list[int | str]:
    parts = urlsplit(url)
    asking = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WITHIN_S)
    try:
        asking.request("GET", parts.path or "/")
        answer = asking.getresponse()
        return [answer.status, answer.read().decode(errors="replace")]
    except (OSError, http.client.HTTPException) as error:
        return [0, str(error)]
    finally:
        asking.close()


def ask_balancer(host: str, port: int, command: str) -> str | None:
    try:
        with socket.create_connection((host, port), timeout=_WITHIN_S) as asking:
            asking.sendall(command.encode() + b"\n")
            asking.shutdown(socket.SHUT_WR)
            parts: list[bytes] = []
            while part := asking.recv(65536):
                parts.append(part)
    except OSError:
        return None
    return b"".join(parts).decode(errors="replace").strip()


def ask(question: dict[str, str]) -> object:
    if "get" in question:
        return ask_http(question["get"])
    return ask_balancer(question["host"], int(question["port"]), question["command"])


if __name__ == "__main__":
    questions: list[dict[str, str]] = json.loads(sys.argv[1])
    with ThreadPoolExecutor(16) as pool:
        print(json.dumps(list(pool.map(ask, questions))))
