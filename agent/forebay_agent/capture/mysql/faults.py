"""Faults: the server's and the driver's errors as kinds of `forebay_agent.errors`, by number.

Numbers: "Server Error Message Reference" of MySQL, "MariaDB Error Codes". The server's own words are passed on, except
where they quote a value of the table.
"""

from __future__ import annotations

import ssl
from typing import Final

import pymysql
from pymysql.constants import CR, ER

from forebay_agent import errors

_DENIED: Final = {
    ER.ACCESS_DENIED_ERROR,
    1130,  # host is not allowed to connect
    1251,  # authentication protocol not supported
    1524,  # plugin is not loaded
    1698,  # access denied, no password
    1820,  # password must be changed
    1862,  # password expired
    3118,  # account locked (MySQL)
    4151,  # account locked (MariaDB)
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
}
_PRIVILEGE: Final = {
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.PROCACCESS_DENIED_ERROR,
    1419,  # a trigger needs SUPER while the binary log is on
}
_TABLE: Final = {ER.BAD_DB_ERROR, ER.BAD_TABLE_ERROR, ER.NO_SUCH_TABLE, 1932}
_TIMEOUT: Final = {
    ER.QUERY_INTERRUPTED,
    1969,  # max_statement_time (MariaDB)
    3024,  # max_execution_time (MySQL)
}
_UNREACHABLE: Final = {
    ER.CON_COUNT_ERROR,
    ER.SERVER_SHUTDOWN,
    1129,  # host is blocked
    1203,  # too many connections of this user
    1226,  # a limit of this user
    1927,  # connection was killed (MariaDB)
    4031,  # disconnected for inactivity (MySQL)
}
_CLIENT_ERRORS: Final = range(2000, 3000)
_VALUE: Final = {1264, 1292, 1300, 1366, 1411, 1525, 1690, 3988}
_QUOTES_A_VALUE: Final = {*_VALUE, 1062, 1265, 1406, 1586}


def number_of(error: BaseException) -> int:
    """The vendor's number; 0 when the driver gives none."""
    first = error.args[0] if error.args and isinstance(error, pymysql.MySQLError) else 0
    return first if isinstance(first, int) else 0


def translate(error: BaseException, doing: str) -> errors.AgentError:
    """`doing`: what was tried, and where: `reading shop.orders at db1:3306`."""
    number = number_of(error)
    said = "" if number in _QUOTES_A_VALUE or len(error.args) < 2 else f": {error.args[1]}"
    message = f"{doing}: MySQL error {number}{said}" if number else f"{doing}: {error}"
    if number in _DENIED:
        return errors.SourceDenied(message)
    if number in _PRIVILEGE:
        return errors.PrivilegeMissing(message)
    if number in _TABLE:
        return errors.TableMissing(message)
    if number == ER.BAD_FIELD_ERROR:
        return errors.ColumnMissing(message)
    if number in _TIMEOUT:
        return errors.StatementTimeout(message)
    if number in _VALUE:
        return errors.ValueUnrepresentable(message)
    if number in _UNREACHABLE or number in _CLIENT_ERRORS or isinstance(error, OSError | pymysql.InterfaceError):
        return errors.SourceUnreachable(message, remedy=_tls_remedy(error))
    return errors.SourceError(message)


def _tls_remedy(error: BaseException) -> str:
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "Name the authority of the database's certificate with `tls_ca`, and the host as the certificate does."
    if isinstance(cause, ssl.SSLError) or number_of(error) == CR.CR_SSL_CONNECTION_ERROR:
        return "Switch TLS on at the database, or set `tls` of the source to what the database offers."
    return ""
