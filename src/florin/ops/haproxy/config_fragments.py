"""Config fragments: templates for the fixed parts of HAProxy's configuration."""

import json

# Connections per source: an IPv4 address or an IPv6 /64 network. Once the balancer is nearly full,
# connections are closed after their response instead of being kept alive.
BOUNDS = """\
  maxconn {most}
  stick-table type ipv6 size 100k expire 1m store conn_cur
  tcp-request connection track-sc0 src,ipmask(32,64){unless_spared}
  tcp-request connection reject if {{ sc0_conn_cur gt {each} }}
  http-request set-var(txn.nearly_full) bool(true) if {{ fe_conn ge {nearly} }}{spared}
  http-after-response set-header Connection close if {{ var(txn.nearly_full) -m bool }}
"""
# Normalises the path like florin.kit.http.paths, before any rule uses it.
ONE_FORM = """\
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-merge-slashes
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request set-path %[path,regsub(/$,)] if { path -m end / } !{ path / }
"""
# As `option httplog` writes it, but of the address of a secret page only its beginning.
LOG_FORMAT = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc"
    ' %sq/%bq %hr %hs "%HM %[var(txn.logged)] %HV"'
)
RULES = """\
  acl has_token path_beg /c/ /o/ /g/ /invite/ /verify/
  http-request set-var(txn.logged) path unless has_token
  http-request set-var(txn.logged) path,field(2,/) if has_token
  http-request set-header X-Forwarded-Proto {scheme}{unless_proxied}
{clients}\
  acl has_id req.hdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{{1,128}}$
  http-request del-header Forwarded
  http-request del-header X-Forwarded-Host
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Request-Id req_%[uuid()] unless has_id
  http-request set-var(txn.request_id) req.hdr(x-request-id)
  acl reads method GET HEAD
  acl posts method POST
  acl only_reads path {reading}
  acl keyed req.hdr(idempotency-key) -m found
  acl kept req.body_size le {body}
  http-request disable-l7-retry unless reads || posts only_reads kept || posts keyed kept"""

_SAYS = {
    "overloaded": "Florin is overloaded; nothing happened, repeat the request.",
    "outcome_unknown": "The outcome is unknown; repeat the request with the same Idempotency-Key.",
}


def problem_response(status: int, code: str) -> str:
    """Return the directive for an error of HAProxy itself, as a problem document like the API's.

    The answer to a request that is not HTTP at all (400) cannot be changed.
    """
    request_id = "%[var(txn.request_id)]"
    document = {
        "type": f"/api/v1/docs#{code}",
        "title": _SAYS[code],
        "status": status,
        "detail": "No instance answered.",
        "code": code,
        "request_id": request_id,
    }
    return (
        f"http-error status {status} content-type application/problem+json"
        f" lf-string '{json.dumps(document)}' hdr X-Request-Id {request_id}"
        " hdr Retry-After 1 hdr Cache-Control no-store"
    )
