"""Retry requests to servers, and turn the errors of many libraries into messages with address, cause and remedy."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from analyzer.errors import CheckpointError

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_TRANSIENT_STATUSES = frozenset({408, 425, 429})  # below 500; all statuses from 500 on are transient as well
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError)
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?")
_SECRET = re.compile(r"(?i)((?:token|signature|secret|password|credential|authorization)[\w-]*['\"]?\s*[=:]\s*)\S.*")

_INTERRUPTED = re.compile("Payload|ContentLength|Incomplete|Disconnected|ConnectionClosed|ResponseStreaming")
_UNREACHABLE = re.compile("gaierror|EndpointConnection|Connector|ConnectError|NoValidConnections")

ResultT = TypeVar("ResultT")


class NotFoundError(CheckpointError):
    """A server has no such file or folder."""


class WholeFileError(Exception):
    """A server answers a request for a part of a file with the whole file."""


class ShortAnswerError(Exception):
    """A server's answer has fewer bytes than requested: the connection was interrupted."""


def with_retries(url: str, call: Callable[[], ResultT]) -> ResultT:
    """Return the call's result; after a transient failure, call again with a pause that doubles each time.

    Raises:
        NotFoundError: there is no such file.
        CheckpointError: any other failure that persists; the message contains no credentials.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except CheckpointError:
            raise
        except Exception as error:  # each library has its own exceptions
            if wait is None or not _is_transient(error):
                raise _readable(url, error) from None  # the original may show a signed address
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - so that many clients do not retry at the same time
    raise AssertionError("unreachable")


def redacted(text: str) -> str:
    """Return another library's text without anything that looks secret, inside or outside its URLs."""
    return _SECRET.sub(r"\1…", without_logins(text))


def without_logins(text: str) -> str:
    """Return a text without the user names, passwords, queries and fragments of its URLs."""
    return _ADDRESS.sub(lambda found: found[1] + found[2] + ("?…" if found[3] else ""), text)


def _is_transient(error: Exception) -> bool:
    status = _status(error)
    if status is not None:
        return status >= 500 or status in _TRANSIENT_STATUSES
    root = list(_causes(error))[-1]
    if isinstance(root, (WholeFileError, *_PERMANENT)):
        return False
    return not _lacks_credentials(root)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: Exception) -> int | None:
    """Return the HTTP status behind an error, wherever its library stores it; None if there is none."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # aiohttp's parser gives a truncated body the code 400, so only gcsfs's "code" is taken for a status.
        code = getattr(cause, "code", None) if type(cause).__module__.startswith("gcsfs") else None
        for status in (getattr(cause, "status", None), code, getattr(response, "status_code", response)):
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return None


def _lacks_credentials(error: BaseException) -> bool:
    name = type(error).__name__
    return "Credential" in name or "Authenti" in name or "Token" in name


def _readable(url: str, error: Exception) -> CheckpointError:
    """Return an error with address, cause and remedy."""
    where, status, root = redacted(url), _status(error), list(_causes(error))[-1]
    tries = f"{len(WAITS) + 1} times in a row"
    later = "Run again later; what was measured is kept."
    code = f" ({status})" if status else ""
    if status in (404, 410) or (status is None and isinstance(root, FileNotFoundError)):
        return NotFoundError(f"{where}: does not exist{code}; check the address")
    if status in (401, 403, 407) or isinstance(root, PermissionError) or _lacks_credentials(root):
        return CheckpointError(
            f"{where}: access is denied{code}. Log in with the service's own mechanism (environment variables, "
            "configuration files, ~/.netrc, an ssh key), or ask for permission to read it."
        )
    if status == 416:
        return CheckpointError(f"{where}: is shorter than it was when it was indexed; it was replaced. Run again.")
    if isinstance(root, WholeFileError):
        return CheckpointError(
            f"{where}: the server answers a request for a part with the whole file, so each tensor would require a "
            "download of the whole file. Copy the run to this machine first, or use a server that supports ranges."
        )
    if status is not None and status >= 500:
        return CheckpointError(f"{where}: the server failed ({status}), {tries}. {later}")
    if status == 429:
        return CheckpointError(f"{where}: the server limits the rate of requests ({status}). Use fewer --jobs. {later}")
    if isinstance(root, ShortAnswerError | EOFError | ConnectionResetError) or _INTERRUPTED.search(type(root).__name__):
        return CheckpointError(f"{where}: the connection was interrupted, {tries}. {later}")
    if isinstance(root, TimeoutError) or "Timeout" in type(root).__name__:
        return CheckpointError(f"{where}: the server did not answer in time, {tries}. {later}")
    if isinstance(root, ConnectionError) or _UNREACHABLE.search(type(root).__name__):
        return CheckpointError(f"{where}: the server cannot be reached, {tries}. Check the address and the network.")
    text = redacted(str(root).partition("\n")[0])[:200]
    return CheckpointError(f"{where}: cannot be read{code}: {type(root).__name__}: {text}")
