"""Routing: selects the destination of a message by its recipient addresses."""

from collections.abc import Iterable, Mapping
from email.errors import MessageError
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import TypeVar

from portal.core.text import split_list

Chosen = TypeVar("Chosen")

#: By precedence: the address a message was delivered to is more reliable than the To and Cc fields.
FIELDS = ("Resent-To", "Envelope-To", "Delivered-To", "X-Original-To", "To", "Cc")


def addresses(header: bytes) -> list[str]:
    """The recipient addresses of a header block, lowercase, by precedence. Malformed mail raises no error."""
    try:
        parsed = BytesHeaderParser().parsebytes(header)
        values = [str(value) for field in FIELDS for value in parsed.get_all(field, [])]
        return [address.lower() for _, address in getaddresses(values) if "@" in address]
    except (MessageError, ValueError, IndexError, TypeError, RecursionError):
        return []


def choose(header: bytes, known: Mapping[str, Chosen], otherwise: Chosen) -> Chosen:
    """The destination of the first known address, otherwise the default destination."""
    return next((known[address] for address in addresses(header) if address in known), otherwise)


def by_address(destinations: Iterable[tuple[Chosen, str]]) -> dict[str, Chosen]:
    """Map each address to the first destination that lists it."""
    known: dict[str, Chosen] = {}
    for destination, text in destinations:
        for address in split_list(text):
            known.setdefault(address, destination)
    return known
