"""The file that tells Envoy where the replicas are. Envoy reads it again when it is replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.files import replace_file
from headrace.gateway.cluster import CLUSTER
from headrace.gateway.config import METADATA

_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def discovery_response(replicas: Iterable[tuple[str, str]], version: int) -> dict[str, Any]:
    """Envoy's discovery response for (id, url) pairs. None at all is a valid answer: drained."""
    endpoints = [_endpoint(replica, url) for replica, url in replicas]
    return {
        "version_info": str(version),
        "resources": [
            {
                "@type": _ASSIGNMENT,
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": endpoints}],
            }
        ],
    }


def write_endpoints(path: Path, replicas: Iterable[tuple[str, str]], version: int) -> None:
    """Replace the endpoint file in one step, so that Envoy never reads half of it."""
    replace_file(path, json.dumps(discovery_response(replicas, version)))


def _endpoint(replica: str, url: str) -> dict[str, Any]:
    """One replica. Its id is the name that affinity hashes, so that a new port moves nobody."""
    parts = urlsplit(url)
    address = {"socket_address": {"address": parts.hostname, "port_value": parts.port or 80}}
    return {
        "endpoint": {"address": address, "hostname": replica},
        "metadata": {
            "filter_metadata": {METADATA: {"replica": replica}, "envoy.lb": {"hash_key": replica}}
        },
    }
