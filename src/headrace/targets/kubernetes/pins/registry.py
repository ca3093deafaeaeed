"""Which digest a tag has now, by the OCI distribution API.

One HEAD request for the manifest, of which `Docker-Content-Digest` is the answer: for an image of
several architectures it names their index, so that every node finds its own. Registries that want
a token say where it is had (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from headrace.errors import HeadraceError
from headrace.targets.kubernetes.pins.ask import NETWORK, explained, failed, too_many
from headrace.targets.kubernetes.pins.credentials import Credentials, credentials_for
from headrace.targets.kubernetes.pins.image import DIGEST, DOCKER_HUB, Image

if TYPE_CHECKING:
    import httpx2

DOCKER_HUB_URL = "https://registry-1.docker.io"
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


def url_of(host: str) -> str:
    """Where a registry answers: by HTTPS, and on this machine by HTTP, as Docker has it."""
    if host == DOCKER_HUB:
        return DOCKER_HUB_URL
    plain = urlsplit(f"//{host}").hostname or ""
    local = plain in ("localhost", "::1") or plain.startswith("127.")
    return f"{'http' if local else 'https'}://{host}"


def digest_of(client: httpx2.Client, image: Image, mirror: str | None = None) -> str:
    """The digest of an image's tag: `sha256:` and 64 digits.

    `mirror` is the address of a registry that is asked in the place of the image's own. Raises
    HeadraceError in one sentence.
    """
    return _Question(client, image, mirror or url_of(image.host), bool(mirror)).digest()


@dataclass
class _Question:
    client: httpx2.Client
    image: Image
    server: str
    mirrored: bool
    credentials: Credentials | None = None
    authorization: str | None = None

    @property
    def doing(self) -> str:
        return f"look up {self.image.name}:{self.image.tag}"

    @property
    def host(self) -> str:
        """The registry's name in Docker's configuration."""
        return urlsplit(self.server).netloc if self.mirrored else self.image.host

    def digest(self) -> str:
        answer = self.manifest("HEAD")
        if answer.status_code == 401:
            self.authorize(answer.headers.get("www-authenticate", ""))
            answer = self.manifest("HEAD")
        digest = answer.headers.get("docker-content-digest", "")
        if answer.status_code == 405 or (answer.status_code == 200 and not digest):
            answer = self.manifest("GET")
            digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if answer.status_code != 200:
            raise self.refusal(answer)
        if not DIGEST.fullmatch(digest):
            raise self.strange()
        return digest

    def manifest(self, method: str) -> httpx2.Response:
        url = f"{self.server}/v2/{self.image.repository}/manifests/{self.image.tag}"
        headers = {"accept": MANIFESTS}
        if self.authorization:
            headers["authorization"] = self.authorization
        return self.ask(method, url, headers=headers)

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        data: dict[str, str] | None = None,
    ) -> httpx2.Response:
        hint = NETWORK if self.mirrored else f"{NETWORK}; --mirror {self.image.host}=URL asks there"
        with explained(self.doing, urlsplit(url).netloc, hint):
            return self.client.request(
                method, url, headers=headers, params=params, auth=auth, data=data
            )

    def authorize(self, challenge: str) -> None:
        """Follow a 401's challenge: a password as it is, or a token that is had elsewhere."""
        self.credentials = credentials_for(self.host)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "bearer":
            self.authorization = f"Bearer {self.token(parse_keqv_list(parse_http_list(rest)))}"
        elif scheme.lower() == "basic" and self.credentials:
            import httpx2

            auth = httpx2.BasicAuth(self.credentials.user, self.credentials.secret)
            request = next(auth.auth_flow(httpx2.Request("GET", self.server)))
            self.authorization = request.headers["authorization"]

    def token(self, challenge: dict[str, str]) -> str:
        """A token to pull this repository, asked for as who is logged in or as nobody."""
        realm = challenge.get("realm", "")
        self.refuse_plain(realm)
        scope = challenge.get("scope") or f"repository:{self.image.repository}:pull"
        asked = {"service": challenge.get("service", ""), "scope": scope}
        who = self.credentials
        if who and who.is_identity_token:
            asked |= {"grant_type": "refresh_token", "client_id": "headrace"}
            answer = self.ask("POST", realm, data={**asked, "refresh_token": who.secret})
        else:
            auth = (who.user, who.secret) if who else None
            answer = self.ask("GET", realm, params=asked, auth=auth)
        if answer.status_code != 200:
            raise self.refusal(answer)
        try:
            said = answer.json()
            return str(said.get("token") or said["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise self.strange() from None

    def refuse_plain(self, realm: str) -> None:
        """Credentials go to a token server by HTTPS, unless the registry is asked by HTTP."""
        if not realm.startswith("https://") and self.server.startswith("https://"):
            raise HeadraceError(
                f"cannot {self.doing}: {self.host} sends to {realm or 'nowhere'} for a token; "
                "expected an https address"
            )

    def refusal(self, answer: httpx2.Response) -> HeadraceError:
        status, name = answer.status_code, self.image.name
        login = "docker login" + ("" if self.host == DOCKER_HUB else f" {self.host}")
        if status == 429:
            return too_many(self.doing, self.host, answer, f"{login}: accounts are allowed more")
        if status in (401, 403) and self.credentials:
            return HeadraceError(
                f"cannot {self.doing}: {self.host} refuses the credentials from "
                f"{self.credentials.source} ({status})",
                hint=f"check the name {name}; {login} asks for them anew",
            )
        if status in (401, 403):
            return HeadraceError(
                f"cannot {self.doing}: {self.host} has no public repository {name} ({status})",
                hint=f"check the name; for a private one: {login}",
            )
        if status == 404:
            return HeadraceError(
                f"cannot {self.doing}: {self.host} has no tag {self.image.tag} of {name} (404)",
                hint="check the name and the tag in the fleet file",
            )
        return failed(self.doing, self.host, answer)

    def strange(self) -> HeadraceError:
        return HeadraceError(
            f"cannot {self.doing}: {self.host} does not answer as a registry does",
            hint="check its address, and proxies between here and it",
        )
