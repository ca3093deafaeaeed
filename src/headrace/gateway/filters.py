"""What Envoy does with a request before it is routed, and what it says when it answers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.gateway.cluster import watched
from headrace.node.job import GatewaySpec

PREFIX_HEADER = "x-headrace-prefix"
"""Set from the body by the gateway itself; what a client sends under this name is replaced."""
PREFIX_CHARS = 1024
"""Prompts that share so many characters share a replica: a system prompt and its tools."""
KEYS_FILTER = "headrace.keys"
KEY_AUTH = "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
WITHOUT_KEY = {
    KEYS_FILTER: {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
        "disabled": True,
    }
}
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    },
}
LUA = """
function envoy_on_request(handle)
  local body, hash = handle:body(), 5381
  if body then
    local text = body:getBytes(0, math.min(body:length(), 4 * CHARS))
    local first = string.find(text, '"messages"%s*:') or string.find(text, '"prompt"%s*:') or 1
    for at = first, math.min(first + CHARS, #text) do
      hash = bit.bxor(hash * 33, string.byte(text, at)) % 4294967296
    end
  end
  handle:headers():replace("HEADER", string.format("%x", hash))
end
""".replace("CHARS", str(PREFIX_CHARS)).replace("HEADER", PREFIX_HEADER)


def chain(policy: str, spec: GatewaySpec, keys: Path | None) -> list[dict[str, Any]]:
    """Key first, then the whole request, then what its body decides, then the replica."""
    found = [*key_check(keys), _buffer(spec.max_body_bytes)]
    return [*found, *([_prefix()] if policy == "prefix-affinity" else []), ROUTER]


def key_check(keys: Path | None) -> list[dict[str, Any]]:
    """Asks for one of the keys in the watched file; nobody gets in before it has been read."""
    if keys is None:
        return []
    discovery = {"config_source": watched(keys), "type_urls": [KEY_AUTH]}
    return [{"name": KEYS_FILTER, "config_discovery": discovery}]


def _buffer(max_bytes: int) -> dict[str, Any]:
    """A body that is too large, or comes too slowly, never reaches a replica."""
    kind = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
    return {
        "name": "envoy.filters.http.buffer",
        "typed_config": {"@type": kind, "max_request_bytes": max_bytes},
    }


def _prefix() -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {"@type": kind, "default_source_code": {"inline_string": LUA}},
    }


def local_replies(retry_after_s: int) -> dict[str, Any]:
    """Errors of the gateway itself look like OpenAI's; above the admission limit it is 429."""
    full = {
        "filter": {"response_flag_filter": {"flags": ["UO"]}},
        "status_code": 429,
        "headers_to_add": [
            {
                "header": {"key": "retry-after", "value": str(retry_after_s)},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "body_format_override": _error("the fleet is full: try again later", "rate_limit_exceeded"),
    }
    return {"mappers": [full], "body_format": _error("%LOCAL_REPLY_BODY%", "gateway_error")}


def _error(message: str, kind: str) -> dict[str, Any]:
    error = {"message": message, "type": kind, "param": None, "code": "%RESPONSE_CODE%"}
    return {"json_format": {"error": error}}


def access_log(path: Path, share: float) -> dict[str, Any]:
    """A JSON line for a sample of the requests; no headers, no bodies, no keys."""
    fields = {
        "time": "%START_TIME%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "replica": "%UPSTREAM_METADATA(headrace:replica)%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    sampled = {"numerator": round(share * 10_000), "denominator": "TEN_THOUSAND"}
    return {
        "name": "envoy.access_loggers.file",
        "filter": {
            "runtime_filter": {
                "runtime_key": "headrace.access_log_share",
                "percent_sampled": sampled,
                "use_independent_randomness": True,
            }
        },
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": fields},
        },
    }
