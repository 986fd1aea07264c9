"""The address of a service: its proxy, its key, how it is shown."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from bakeoff.endpoint.connections import bound
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.secrecy import redact

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The hosts that are this machine."""


def http_session(url: str) -> requests.Session:
    """A session for *url* that asks no proxy for loopback addresses."""
    session = requests.Session()
    bound(session)
    session.verify = own_certificates() or True
    if (urlsplit(url).hostname or "") in LOOPBACK:
        session.trust_env = False
    else:
        proxy = proxy_of(url)
        if proxy:
            session.proxies = {"http": proxy, "https": proxy}
            session.trust_env = False
    return session


def own_certificates() -> str:
    """The user's own bundle of certificates, a file or a folder; "" for none."""
    named = (os.environ.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"))
    return next((path for path in named if path and Path(path).exists()), "")


def proxy_of(url: str) -> str:
    """The environment's proxy for *url*, with a scheme; "" for none.

    Raises:
        ServiceError: it speaks SOCKS, and the packages for that are missing.
    """
    if (urlsplit(url).hostname or "") in LOOPBACK:
        return ""
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme, _, rest = proxy.partition("://")
    if not _is_proxy(proxy):
        raise ServiceError(
            f"{shown_url(url)}: the environment names a proxy that is none ({shown_url(proxy)}); write "
            "http://host:port or socks5://host:port, or put the host into NO_PROXY"
        )
    if not scheme.lower().startswith("socks"):
        return proxy
    missing = [package for package in ("socksio", "socks") if importlib.util.find_spec(package) is None]
    if missing:
        install = " ".join("PySocks" if package == "socks" else package for package in missing)
        raise ServiceError(
            f"{shown_url(url)}: the environment names a SOCKS proxy ({shown_url(proxy)}), which needs more packages: "
            f"pip install {install}; or name an HTTP proxy, or put the host into NO_PROXY"
        )
    return f"socks5://{rest}" if scheme.lower() == "socks" else proxy


def _is_proxy(proxy: str) -> bool:
    """Whether an HTTP client can go through *proxy*."""
    try:
        parts = urlsplit(proxy)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return whole and parts.scheme in ("http", "https", "socks", "socks5", "socks5h")


def shown_url(url: str) -> str:
    """*url* without user name, password and query, to be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return redact(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else redact(url)


def spared_by_proxies(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The user's ``NO_PROXY`` and ``no_proxy``, with loopback added."""
    listed: list[str] = []
    for name in ("NO_PROXY", "no_proxy"):
        listed += [item.strip() for item in environ.get(name, "").split(",") if item.strip()]
    hosts = [*(item for item in listed if item not in LOOPBACK), "127.0.0.1", "localhost", "::1"]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(dict.fromkeys(hosts)))


def key_of(api_key_env: str | None, url: str = "") -> str:
    """The key in the variable *api_key_env*; "" where none is named.

    Raises:
        ServiceError: the variable is empty, or no HTTP header can carry its value.
    """
    if not api_key_env:
        return ""
    where = f"{shown_url(url)}: " if url else ""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        raise ServiceError(f"{where}environment variable {api_key_env} is empty; export it before starting")
    if key[0] == key[-1] and key[0] in "\"'" and len(key) > 1:
        raise ServiceError(
            f"{where}{api_key_env} holds its quotation marks, too; export the key without them"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ServiceError(
            f"{where}{api_key_env} holds characters that no HTTP header can carry (white space within, or letters "
            "other than ASCII); export the key alone"
        )
    return key
