"""Which destination a message belongs to, by the addresses that it was sent to."""

from collections.abc import Iterable, Mapping
from email.errors import MessageError
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import TypeVar

from portal.core.text import split_list

Chosen = TypeVar("Chosen")

#: In this order: who a message was delivered to says more than whom its sender wrote to.
FIELDS = ("Resent-To", "Envelope-To", "Delivered-To", "X-Original-To", "To", "Cc")


def addresses(header: bytes) -> list[str]:
    """The addresses of a header block, in lower case, the most telling ones first. Never fails on hostile mail."""
    try:
        parsed = BytesHeaderParser().parsebytes(header)
        values = [str(value) for field in FIELDS for value in parsed.get_all(field, [])]
        return [address.lower() for _, address in getaddresses(values) if "@" in address]
    except (MessageError, ValueError, IndexError, TypeError, RecursionError):
        return []


def choose(header: bytes, known: Mapping[str, Chosen], otherwise: Chosen) -> Chosen:
    """The destination of the first address that is known, else the default one."""
    return next((known[address] for address in addresses(header) if address in known), otherwise)


def by_address(destinations: Iterable[tuple[Chosen, str]]) -> dict[str, Chosen]:
    """Each address with its destination; the first one to name it has it."""
    known: dict[str, Chosen] = {}
    for destination, text in destinations:
        for address in split_list(text):
            known.setdefault(address, destination)
    return known
