"""Network backend of the client: allowed addresses, and the deadline of a response.

Both are enforced at the socket, where names are resolved and every byte passes. A redirect, a name with several
addresses, or headers that arrive one byte per second cannot bypass them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.request import getproxies

import httpcore
import httpx

from canvas_sync_dagster.errors import AddressRefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"))
)
"""Addresses outside the link-local range at which clouds serve credentials of the machine."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_refused(address: Address) -> bool:
    """Return whether an address leads to this machine or its cloud: loopback, link-local, unspecified, metadata.

    >>> [is_refused(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::ffff:169.254.169.254", "10.1.2.3")]
    [True, True, False]
    """
    inner = _inner(address)
    refused = inner.is_loopback or inner.is_link_local or inner.is_unspecified or inner.is_multicast
    return refused or inner in METADATA


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address embeds, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def resolved(host: str, port: int) -> list[str]:
    """Return all addresses of a host.

    Raises:
        OSError: It has no address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline(threading.local):
    """Reading of `time.monotonic()` until which the calling thread waits for bytes; None for no deadline."""

    until: float | None = None

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit the total time of all reads in the `with` block."""
        self.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self.until = None

    def left(self, timeout: float | None) -> float | None:
        """Return the seconds that the next read may take.

        Raises:
            httpcore.ReadTimeout: The deadline has passed.
        """
        if self.until is None:
            return timeout
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole response took too long")
        return left if timeout is None else min(left, timeout)


class Network(httpcore.SyncBackend):
    """Backend that connects to Canvas and its storage, but not to this machine.

    Args:
        canvas_host: Host of the base URL. A person chose it, so it may have any address. If it is on this machine, the
            storage may be, too.
        deadline: Deadline of reads.
        resolve: Function that returns the addresses of a host.
    """

    def __init__(self, canvas_host: str, deadline: Deadline, resolve: Resolve = resolved) -> None:
        self._canvas_host, self._deadline, self._resolve = canvas_host, deadline, resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that responds.

        Raises:
            AddressRefusedError: One of its addresses leads to this machine.
            httpcore.ConnectError: No address responds.
        """
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._allowed(host, port):
            try:
                stream = super().connect_tcp(address, port, timeout, local_address, socket_options)
                return _BoundedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")

    def _allowed(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = self._resolve(host, port)
            if host == self._canvas_host or not any(map(_is_inside, addresses)):
                return addresses
            if any(map(_is_inside, self._resolve(self._canvas_host, port))):
                return addresses
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from None
        raise AddressRefusedError(host)


def _is_inside(address: str) -> bool:
    return is_refused(ipaddress.ip_address(address.partition("%")[0]))


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose reads end at the deadline of the reading thread."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedTransport(httpx.HTTPTransport):
    """httpx's transport over a `Network`."""

    def __init__(self, network: Network, verify: ssl.SSLContext) -> None:
        super().__init__(verify=verify)
        # httpx accepts no backend, so this replaces the pool that its constructor created.
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify, max_connections=100, max_keepalive_connections=20, network_backend=network
        )


def transport(canvas_host: str, deadline: Deadline, verify: ssl.SSLContext) -> httpx.BaseTransport | None:
    """Return the guarded transport; None if a proxy is configured, because the proxy resolves the names."""
    if any(name in getproxies() for name in ("http", "https", "all")):
        return None
    return GuardedTransport(Network(canvas_host, deadline), verify)
