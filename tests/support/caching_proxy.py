"""Caching proxies for tests: nginx, if it is installed, and HAProxy's cache; ended by their pids.

Both are shared caches that look at no cookie, as a CDN's. nginx keeps to Vary and
stale-while-revalidate by itself. HAProxy's cache knows no Vary but Accept-Encoding: its
configuration puts the language into the address, which is what docs/pages/pages.md advises for
such a cache.
"""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from florin.ops.haproxy import program
from tests.support.ports import free_port

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
_WITHIN_S = 30.0

_NGINX = """
daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/errors warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_cache pages;
      proxy_cache_key $request_uri;
      proxy_cache_revalidate on;
      proxy_cache_background_update on;
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""
_HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
cache pages
  total-max-size 4
  max-object-size 200000
  max-age 3600
  process-vary on
frontend edge
  bind 127.0.0.1:{port}
  option forwardfor
  acl asked url_param(lang) -m found
  acl german req.hdr(accept-language) -m beg -i de
  acl queried query -m found
  http-request set-query lang=de if german !asked !queried
  http-request set-query %[query]&lang=de if german !asked queried
  http-request cache-use pages
  http-response replace-header Vary ^Accept-Encoding,.* Accept-Encoding
  http-response cache-store pages
  http-after-response set-header X-Cache HIT if {{ res.hdr(age) -m found }}
  default_backend florin
backend florin
  server balancer {upstream}
"""


@dataclass(frozen=True, slots=True)
class CachingProxy:
    """A proxy in front of an address; it answers `X-Cache: HIT` from its cache."""

    port: int
    log: Path

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def caching_proxy(kind: str, upstream: str, folder: Path) -> AsyncGenerator[CachingProxy]:
    """Run `nginx` or `haproxy` in front of `upstream`, as HOST:PORT."""
    port, log = free_port(), folder / f"{kind}.log"
    folder = folder / kind
    folder.mkdir()
    config = folder / "conf"
    text = _NGINX if kind == "nginx" else _HAPROXY
    config.write_text(text.format(folder=folder, port=port, upstream=upstream), "utf-8")
    if kind == "nginx":
        assert NGINX is not None
        argv = [NGINX, "-p", str(folder), "-c", str(config)]
    else:
        argv = [str(program.find_haproxy().path), "-db", "-f", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)  # noqa: ASYNC220 -- a millisecond
    try:
        await _listens(process, port, log)
        yield CachingProxy(port, log)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


async def _listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while True:
            assert process.poll() is None, log.read_text("utf-8")[-2000:]  # noqa: ASYNC240 -- small
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return
