"""What of a configuration is secret, and what is shown in its place. Pure.

Rather too much is hidden than too little: a key counts by what its name contains, and a value that is an address loses
the credentials in it.
"""

import re

MASK = "********"
_SECRET = re.compile(
    r"pass|pasw|pwd|secret|token|credential|jaas|private|user\.info|oauthbearer\.config|(^|[._])key(\.pem)?$"
)
_PLACE = re.compile(r"\.(location|file|url)$")
"""Keys that say where something is, whatever it is: paths and addresses are shown."""
_USER = re.compile(r"(?<=://).*(?=@)")
_QUERY = re.compile(r"(?<=\?).*")


def is_secret(key: str, value: object) -> bool:
    """Return whether nobody may see this value of a client's key."""
    named = bool(_SECRET.search(key.lower())) and not _PLACE.search(key.lower())
    return named or "PRIVATE KEY" in str(value)


def has_credentials(value: object) -> bool:
    """Return whether a value is an address with a user, and so perhaps a password, in it."""
    return bool(_USER.search(str(value)))


def masked(key: str, value: object) -> object:
    """Return the value as it may be shown."""
    if is_secret(key, value):
        return MASK
    if "://" not in str(value):
        return value
    return _QUERY.sub(MASK, _USER.sub(MASK, str(value)))


class Keys(dict[str, str | int | float | bool]):
    """A client's keys and values. Its text shows the keys only, so that no log line or traceback shows a secret."""

    def __repr__(self) -> str:
        return f"<{len(self)} keys: {', '.join(self)}>"
