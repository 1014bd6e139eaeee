"""Texts as users enter them."""


def split_list(text: str) -> list[str]:
    """The entries of a list separated by commas, blanks or line breaks, in lower case."""
    return text.replace(",", " ").lower().split()
