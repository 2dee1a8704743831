"""URLs of PostgreSQL databases, for the warehouse and for Dagster's storage.

A URL contains a password. Messages name the database by `redacted`, and a wrong URL by `problem_of`. Neither quotes any
part of a wrong URL, because every part of it may belong to the password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

ENCODING = "UTF8"
"""The only encoding that can represent every text of Canvas. Each connection sets it: with another default of the role,
the database or PGCLIENTENCODING, PostgreSQL would misread our bytes and store wrong text without an error."""
DAGSTER_DATABASE_URL = "CANVAS_SYNC_DAGSTER_DATABASE_URL"
ALLOWED = "postgresql://user:password@host:5432/database; what is left out comes from PG* variables or a service file"
PERCENT_ENCODE = (
    "percent-encode the password (and the user): / is %2F, @ is %40, % is %25, : is %3A, ? is %3F, # is %23, a blank is "
    "%20. Or leave the password out and set PGPASSWORD, PGPASSFILE or ?passfile="
)
UNENCODED = re.compile(r"[/@#?\s]|%(?![0-9A-Fa-f]{2})")
ENCRYPTED = {"require", "verify-ca", "verify-full"}
"""Modes of libpq that never fall back to an unencrypted connection."""
LOCAL = re.compile(r"|[/@].*|localhost|127(\.\d+){3}|::1")
"""Hosts and socket directories whose connections do not use a network."""
HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]*)(:\d*)?")


def problem_of(url: str) -> str | None:
    """Return the problem of a URL and its remedy; None if the URL can be used.

    >>> problem_of("postgresql://canvas:se/cret@db.example.edu/school").split(":")[0]
    'user or password contains a character that must be percent-encoded'
    >>> problem_of("postgresql://canvas:se%2Fcret@db.example.edu/school")
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        return "not the URL of a PostgreSQL database"
    head, _, query = rest.partition("?")
    userinfo, at, hosts = head.rpartition("@")
    if not at:
        # A password with an unencoded ? ends up in the query, and its beginning is read as a port.
        userinfo, hosts = "", head
    elsewhere = at == "" and "@" in query and not all("=" in each for each in query.split("&"))
    if UNENCODED.search(userinfo) or elsewhere:
        return f"user or password contains a character that must be percent-encoded: {PERCENT_ENCODE}"
    if not all(HOST.fullmatch(each) for each in unquote(hosts.partition("/")[0]).split(",")):
        return f"host and port are not valid; if the URL has a password, {PERCENT_ENCODE}"
    return None if _parsed(url) is not None else f"libpq cannot read it; if the URL has a password, {PERCENT_ENCODE}"


def _parsed(url: str) -> dict[str, str] | None:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except ProgrammingError:
        return None


def parts_of(url: str) -> dict[str, str]:
    """Return libpq's parameters in a valid URL, including the password."""
    return _parsed(url) or {}


def place_of(url: str) -> tuple[str, str, str]:
    """Return host, port and database of a valid URL, completed from PG* variables as libpq does."""
    defaults = {each.keyword.decode(): each.val.decode() for each in Conninfo.get_defaults() if each.val}
    given = defaults | parts_of(url)
    if service := given.get("service"):
        given = {"host": f"service {service}"} | given
    host = given.get("host") or given.get("hostaddr") or "localhost"
    return host.lower(), given.get("port") or "5432", given.get("dbname") or given.get("user") or "the default database"


def database_of(url: str) -> str | None:
    """Return the database of a valid URL without connecting; None if only a service file names it.

    >>> database_of("postgresql://canvas@db.example.edu/school"), database_of("postgresql://canvas@db.example.edu")
    ('school', 'canvas')
    """
    defaults = {each.keyword.decode(): each.val.decode() for each in Conninfo.get_defaults() if each.val}
    given = parts_of(url)
    if "dbname" in given or given.get("service") or defaults.get("service"):
        return given.get("dbname")
    return defaults.get("dbname") or given.get("user") or defaults.get("user")


def lacks_tls(url: str) -> str | None:
    """Return the host to which a URL allows connections without TLS; None if it requires TLS, or is on this machine.

    >>> lacks_tls("postgresql://u:secret@db.example.edu/school?sslmode=prefer")
    'db.example.edu'
    >>> lacks_tls("postgresql://u:secret@db.example.edu/school?sslmode=verify-full"), lacks_tls("postgresql:///school")
    (None, None)
    """
    defaults = {each.keyword.decode(): each.val.decode() for each in Conninfo.get_defaults() if each.val}
    given = defaults | parts_of(url)
    if given.get("sslmode") in ENCRYPTED or given.get("service"):
        return None
    hosts = (given.get("host") or given.get("hostaddr") or "localhost").split(",")
    return next((host for host in hosts if not LOCAL.fullmatch(host.lower())), None)


def redacted(url: str) -> str:
    """Name a database without its password: `school at db.example.edu:5432`.

    >>> redacted("postgresql://u:secret@db.example.edu/school")
    'school at db.example.edu:5432'
    """
    if problem_of(url):
        return "the database"
    host, port, database = place_of(url)
    return f"{database} at {host}:{port}"
