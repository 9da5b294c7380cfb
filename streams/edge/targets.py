"""Where tickets are delivered to: a file of JSON lines, or a webhook."""

import asyncio
import os
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from streams import __version__
from streams.edge.insisting import Try
from streams.edge.ticket import Ticket
from streams.errors import ConfigError, SetupError, StateError

PASSING = (408, 425, 429)
"""Answers of 4xx that say: later."""


class Target(Protocol):
    """One place. `open` and `close` are called once, by the loop that delivers."""

    @property
    def where(self) -> str:
        """How it is named in log lines; no secret is in it."""
        ...

    async def open(self, timeout_s: float) -> None:
        """Begin; one try may take so long. Raises: SetupError."""
        ...

    async def attempt(self, ticket: Ticket) -> Try:
        """Try to deliver once. Raises: StateError where going on is of no use."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class JsonLines:
    """A file that tickets are appended to, one line of JSON each; a line counts once it is on the disk.

    A line that a crash of the machine has torn is ended before the next one is begun: it is no JSON, and its ticket comes
    again.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    @property
    def where(self) -> str:
        """The path."""
        return str(self._path)

    async def open(self, timeout_s: float) -> None:  # noqa: ARG002  a disk is waited for
        """Create the file if it is not there. Raises: SetupError."""
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                self._append(b"\n")
            folder = os.open(self._path.absolute().parent, os.O_RDONLY)
            os.fsync(folder)  # else the file's name may be lost with the machine
            os.close(folder)
        except OSError as error:
            raise SetupError(f"{self._path}: {error.strerror}. Tickets cannot be written there.") from None

    async def attempt(self, ticket: Ticket) -> Try:
        """Append a line in one write, and wait for the disk. Raises: StateError."""
        try:
            await asyncio.to_thread(self._append, f"{ticket.text}\n".encode())
        except OSError as error:
            raise StateError(
                f"{self._path}: {error.strerror}. Tickets up to this one are delivered; make room, and start again."
            ) from None
        return Try("done")

    def _append(self, line: bytes) -> None:
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(0, f"only {written} of {len(line)} bytes were written")
        os.fsync(self._file)

    async def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)


class Webhook:
    """An address that tickets are sent to: HTTP POST of JSON, `Idempotency-Key: <id>:<revision>`.

    2xx is success. No answer in time, 5xx, 408, 425 and 429 pass; everything else is a refusal. Redirects are not followed,
    proxies of the environment are not used, and nothing of an answer but its status is read.
    """

    def __init__(self, url: str) -> None:
        """Raises: ConfigError for what is no address; it does not show it, for the secret may be in it."""
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError("--webhook: an address begins with http:// or https:// and names a host")
        self._where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def where(self) -> str:
        """Scheme, host and port: path, query and user may be secrets."""
        return self._where

    async def open(self, timeout_s: float) -> None:
        """Begin a session."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session = aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": f"answeronce/{__version__}"})

    async def attempt(self, ticket: Ticket) -> Try:
        """Send it once."""
        assert self._session is not None, "it is open"
        headers = {"Content-Type": "application/json", "Idempotency-Key": ticket.key}
        try:
            async with self._session.post(
                self._url, data=ticket.text.encode(), headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:  # its text may quote the address
            return Try("again", f"no answer ({type(error).__name__})")
        if 200 <= status < 300:
            return Try("done")
        return Try("again" if status >= 500 or status in PASSING else "refused", f"HTTP {status}")

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.close()
