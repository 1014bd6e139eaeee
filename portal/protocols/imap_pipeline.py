"""UID FETCH commands that are under way at once (RFC 3501 section 5.5), on a connection of imapclient."""

from collections.abc import Callable
from imaplib import IMAP4

from portal.core.errors import Refused
from portal.protocols.imap_session import Client, Items, one_line, translated_errors
from portal.protocols.server import suggested_pause


class Pipeline:
    """Sends UID FETCH commands at once and reads their responses when they are asked for.

    A response belongs to a message by its UID, never by the order of arrival: a server may complete commands in another
    order. Items of another command that arrive meanwhile are kept; they are at most what is under way.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._host = client, client.host
        self._arrived: dict[int, Items] = {}

    def send(self, uids: list[int], item: str, size: int = 0) -> Callable[[], dict[int, Items]]:
        """Send the command. The returned function reads the response, of about ``size`` bytes.

        The response contains the messages of ``uids`` that are on the server. The function raises Refused if the server
        refuses the command, Unavailable if the connection fails.
        """
        with translated_errors(self._host):
            tag = self._client.send_fetch(uids, item)
        return lambda: self._received(tag, uids, size)

    def _received(self, tag: bytes, uids: list[int], size: int) -> dict[int, Items]:
        self._client.allow(size)
        with translated_errors(self._host):
            for uid, items in self._complete(tag).items():
                self._arrived.setdefault(uid, {}).update(items)
        return {uid: self._arrived.pop(uid) for uid in uids if uid in self._arrived}

    def _complete(self, tag: bytes) -> dict[int, Items]:
        """Refused: the server refuses this command only, the session continues."""
        try:
            return self._client.complete_fetch(tag)
        except IMAP4.abort:
            raise
        except IMAP4.error as error:
            if _is_about_all(text := one_line(error)):
                raise
            raise Refused(f"{self._host} did not return the message: {text}") from error


def nothing(host: str) -> Refused:
    """The error for a listed message whose content the server does not return."""
    return Refused(f"{host} lists the message but returned no content.")


def _is_about_all(text: str) -> bool:
    """Whether an error concerns the whole session, not one message (by Microsoft's error texts)."""
    return suggested_pause(text) is not None or "not connected" in text.lower()
