"""The parts of a report that the setting `split_reports` splits: one for each of some sub-accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.tenants import EVERY_SUB_ACCOUNT


def sub_accounts(session: Session, split: Sequence[str]) -> Sequence[str]:
    """Return the ids of the sub-accounts whose reports are the parts.

    Args:
        session: Canvas is asked once for the sub-accounts directly below the tenant's account.
        split: The setting: `all` of them, or their ids, which need not lie directly below it.

    Raises:
        SettingError: `all`, although the account has no sub-accounts.
        CanvasError: Canvas could not be asked.
    """
    if EVERY_SUB_ACCOUNT not in split:
        return split
    found = session.sub_accounts()
    if not found:
        problem = f"account {session.canvas.account_id} of tenant {session.tenant.slug} has no sub-accounts"
        allowed = "ids of sub-accounts, or no such setting"
        raise SettingError("split_reports", problem, allowed=allowed, value=EVERY_SUB_ACCOUNT)
    return found


def with_accounts_below(accounts: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """Return accounts and all accounts below them.

    Args:
        accounts: Their ids.
        parents: Account → the account directly above it.

    >>> sorted(with_accounts_below([2], {2: 1, 3: 1, 4: 2, 5: 4}))
    [2, 4, 5]
    """
    found, new = set(accounts), set(accounts)
    while new:
        new = {account for account, parent in parents.items() if parent in new} - found
        found |= new
    return found
