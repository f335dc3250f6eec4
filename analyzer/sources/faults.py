"""What goes wrong between here and a server: what is tried again, and what is said where that does not help."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from analyzer.errors import CheckpointError

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_PASSING = frozenset({408, 425, 429})  # statuses below 500 that may pass; of the others, all from 500 on
_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError)
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?")
_SECRET = re.compile(r"(?i)((?:token|signature|secret|password|credential|authorization)[\w-]*['\"]?\s*[=:]\s*)\S.*")

_CUT = re.compile("Payload|ContentLength|Incomplete|Disconnected|ConnectionClosed|ResponseStreaming")
_UNREACHED = re.compile("gaierror|EndpointConnection|Connector|ConnectError|NoValidConnections")

ResultT = TypeVar("ResultT")


class NotThereError(CheckpointError):
    """A server has no such file or folder."""


class WholeFileError(Exception):
    """A server answers a request for a part of a file with all of it."""


class ShortAnswerError(Exception):
    """A server's answer has fewer bytes than were asked for: the connection was cut."""


def persist(url: str, call: Callable[[], ResultT]) -> ResultT:
    """The call's result; where a failure may pass, it is called again after a pause that doubles each time.

    Raises:
        NotThereError: there is no such file.
        CheckpointError: any other failure that lasts; the message has no credentials in it.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except CheckpointError:
            raise
        except Exception as error:  # each library has its own
            if wait is None or not _may_pass(error):
                raise _named(url, error) from None  # what it came from may show a signed address
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - so that many do not come back at the same time
    raise AssertionError("unreachable")


def redacted(text: str) -> str:
    """A text of another library without what looks secret, in the URLs in it or beside them."""
    return _SECRET.sub(r"\1…", without_logins(text))


def without_logins(text: str) -> str:
    """A text without the user names, passwords, queries and fragments of the URLs in it."""
    return _ADDRESS.sub(lambda found: found[1] + found[2] + ("?…" if found[3] else ""), text)


def _may_pass(error: Exception) -> bool:
    status = _status(error)
    if status is not None:
        return status >= 500 or status in _PASSING
    root = list(_causes(error))[-1]
    if isinstance(root, (WholeFileError, *_FOR_GOOD)):
        return False
    return not _lacks_credentials(root)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: Exception) -> int | None:
    """The HTTP status that stands behind an error, in whatever way its library tells it."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # aiohttp's own parser gives a cut body the code 400, so "code" is a status only where gcsfs says it.
        code = getattr(cause, "code", None) if type(cause).__module__.startswith("gcsfs") else None
        for status in (getattr(cause, "status", None), code, getattr(response, "status_code", response)):
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return None


def _lacks_credentials(error: BaseException) -> bool:
    name = type(error).__name__
    return "Credential" in name or "Authenti" in name or "Token" in name


def _named(url: str, error: Exception) -> CheckpointError:
    """The error for people: address, cause and remedy."""
    where, status, root = redacted(url), _status(error), list(_causes(error))[-1]
    tries = f"{len(WAITS) + 1} times in a row"
    later = "Run again later; what was measured is kept."
    told = f" ({status})" if status else ""
    if status in (404, 410) or (status is None and isinstance(root, FileNotFoundError)):
        return NotThereError(f"{where}: does not exist{told}; check the address")
    if status in (401, 403, 407) or isinstance(root, PermissionError) or _lacks_credentials(root):
        return CheckpointError(
            f"{where}: access is denied{told}. Log in by the service's own means (environment variables, configuration "
            "files, ~/.netrc, an ssh key), or ask for the right to read it."
        )
    if status == 416:
        return CheckpointError(f"{where}: is shorter than it was when it was indexed; it was replaced. Run again.")
    if isinstance(root, WholeFileError):
        return CheckpointError(
            f"{where}: the server answers a request for a part with the whole file, so each tensor would cost a "
            "download of everything. Copy the run here first, or use a server that serves ranges."
        )
    if status is not None and status >= 500:
        return CheckpointError(f"{where}: the server failed ({status}), {tries}. {later}")
    if status == 429:
        return CheckpointError(f"{where}: the server is asked too often ({status}). Use fewer --jobs. {later}")
    if isinstance(root, ShortAnswerError | EOFError | ConnectionResetError) or _CUT.search(type(root).__name__):
        return CheckpointError(f"{where}: the connection was cut on the way, {tries}. {later}")
    if isinstance(root, TimeoutError) or "Timeout" in type(root).__name__:
        return CheckpointError(f"{where}: the server did not answer in time, {tries}. {later}")
    if isinstance(root, ConnectionError) or _UNREACHED.search(type(root).__name__):
        return CheckpointError(f"{where}: the server cannot be reached, {tries}. Check the address and the network.")
    text = redacted(str(root).partition("\n")[0])[:200]
    return CheckpointError(f"{where}: cannot be read{told}: {type(root).__name__}: {text}")
