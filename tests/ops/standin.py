"""Stand-in: an instance that knows health and one program, for tests of the supervisor alone.

Run as `standin.py api | migrate | demo | up HOME PORT`; the last one is a supervisor whose
processes are the other three.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "currency": "EUR", "balanced": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def serve() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if os.environ.get("STANDIN_STUBBORN") else leave)
    address = (os.environ["FLORIN_HOST"], int(os.environ["FLORIN_PORT"]))
    ThreadingHTTPServer(address, Answers).serve_forever()


def supervise(home: str, port: str) -> int:
    from florin.ops.home import Home
    from florin.ops.options import Commands, Options
    from florin.ops.tell import Unable
    from florin.ops.up import up

    def me(word: str) -> tuple[str, ...]:
        return (sys.executable, "-P", __file__, word)

    commands = Commands(api=me("api"), migrate=me("migrate"), demo=me("demo"))
    try:
        return up(
            Options(
                home=Home(Path(home)), environ=dict(os.environ), port=int(port), commands=commands
            )
        )
    except Unable as error:
        print(f"florin: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["api"]:
            serve()
        case ["migrate"]:
            pass
        case ["demo"]:
            print(json.dumps({"merchant": "mer_1", "program": "prg_1", "api_key": "flk_1"}))
        case ["up", home, port]:
            sys.exit(supervise(home, port))
        case _:
            sys.exit(2)
