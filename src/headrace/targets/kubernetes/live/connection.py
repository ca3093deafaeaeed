"""The cluster of a kubectl context: its address, certificates and credentials, or what is wrong."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.errors import HeadraceError, InputError
from headrace.targets.kubernetes.live.api import INSTALL, TIMEOUT_S, Api

if TYPE_CHECKING:
    import httpx2

CONTEXTS = "see kubectl config get-contexts; target.context names one of them"
PLUGIN = "client.authentication.k8s.io/v1beta1"


def connect(context: str | None, timeout_s: float = TIMEOUT_S) -> Api:
    """The cluster of a kubectl context; the current one for None. Nothing is asked of it yet.

    Raises InputError when the extra is not installed or there is no such context.
    """
    if find_spec("lightkube") is None:
        raise InputError("a cluster needs the kubernetes extra", hint=INSTALL)
    config = _config(context)
    server = str(config.cluster.server)
    if urlsplit(server).scheme not in ("http", "https"):
        raise _unusable(context, f"its server is {server!r}, expected https://HOST")
    return Api(_client(config, context, timeout_s), server, timeout_s)


def _config(context: str | None) -> Any:
    import yaml
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.core.exceptions import ConfigError

    try:
        config = KubeConfig.from_env().get(context)
    except ConfigError as error:
        raise _unusable(context, str(error)) from None
    except KeyError as error:
        raise _unusable(context, f"its cluster or user {error} is not in {_file()}") from None
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        raise InputError(
            f"no cluster: {_file()} is no kubeconfig, with clusters, contexts and users",
            hint="try kubectl config view; KUBECONFIG names another file",
        ) from None
    if config is None or config.user is None:
        raise _unusable(context, "it names no user")
    return config


def _client(config: Any, context: str | None, timeout_s: float) -> httpx2.Client:
    import httpx2
    from lightkube.config.client_adapter import Client, ConnectionParams
    from lightkube.core.exceptions import ConfigError

    try:
        client = Client(config, ConnectionParams(timeout=httpx2.Timeout(timeout_s)))
    except ssl.SSLError:
        raise _unusable(context, "a certificate or key of it is no PEM text") from None
    except FileNotFoundError:
        raise _unusable(context, "a certificate or key that it names is not there") from None
    except (ConfigError, OSError, ValueError, httpx2.InvalidURL) as error:
        raise _unusable(context, str(error)) from None
    if client.auth is not None:
        client.auth = _explained(client.auth, config)
    return client


def _unusable(context: str | None, why: str) -> InputError:
    where = f"the context {context!r}" if context else "the current kubectl context"
    return InputError(f"no cluster: {where} cannot be used: {why}", hint=CONTEXTS)


def _file() -> str:
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _explained(inner: httpx2.Auth, config: Any) -> httpx2.Auth:
    """The same credentials, whose failures end in one sentence."""
    import httpx2

    class Explained(httpx2.Auth):
        def sync_auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override]
            flow = inner.sync_auth_flow(request)
            answer = None
            while True:
                try:
                    asked = next(flow) if answer is None else flow.send(answer)
                except StopIteration:
                    return
                except Exception as error:
                    raise _no_credentials(error, config) from None
                answer = yield asked

    return Explained()


def _no_credentials(error: Exception, config: Any) -> HeadraceError:
    plugin = getattr(config.user.exec, "command", None)
    said, hint = " ".join(str(error).split()), "log in again (gcloud, aws, ...)"
    if plugin and isinstance(error, FileNotFoundError):
        said = f"its credential plugin {plugin} is not installed"
        hint = "install it or put it on PATH: kubectl needs it too"
    elif plugin and "not implemented" in said:
        said = f"its credential plugin is set up with {config.user.exec.apiVersion}"
        hint = f"set the apiVersion of its exec section to {PLUGIN}"
    elif plugin and isinstance(error, KeyError | ValueError | TypeError):
        said = f"its credential plugin {plugin} printed no token"
    return HeadraceError(f"no credentials for {config.cluster.server}: {said}", hint=hint)
