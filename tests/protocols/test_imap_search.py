"""The UIDs of a mailbox as ranges (ESEARCH, RFC 4731)."""

import pytest
from imapclient.exceptions import ProtocolError

from portal.protocols.imap_session import _expanded


def test_uids_in_ranges_are_expanded() -> None:
    assert _expanded(b'(TAG "A1") UID ALL 1:3,7,9:10') == [1, 2, 3, 7, 9, 10]


def test_range_from_high_to_low_is_the_same_range() -> None:
    # RFC 3501 section 9, seq-range: 2:4 and 4:2 are equivalent.
    assert _expanded(b'(TAG "A1") UID ALL 4:2') == [2, 3, 4]


def test_search_without_result_has_no_uids() -> None:
    assert _expanded(b'(TAG "A1") UID') == []


def test_range_of_all_numbers_does_not_fill_the_memory() -> None:
    with pytest.raises(ProtocolError, match="more than 1,000,000 messages"):
        _expanded(b'(TAG "A1") UID ALL 1:4294967295')
