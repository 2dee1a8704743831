"""Checks of a tenant's Canvas: token, reports, clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.canvas.reports import available_reports
from canvas_sync_dagster.catalogue import ReportFeed
from canvas_sync_dagster.clocks import SLACK
from canvas_sync_dagster.commands.checks.finding import Checked, Finding, fail, failed, note, ok, run_checks
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.sync.feed_costs import model_feeds
from canvas_sync_dagster.sync.report_parts import with_accounts_below
from canvas_sync_dagster.sync.report_request import PROPRIETARY, STOCK
from canvas_sync_dagster.sync.session import Session, connect_canvas
from canvas_sync_dagster.sync.walk_cost import WalkCost
from canvas_sync_dagster.tenants import EVERY_SUB_ACCOUNT

NOTED_SKEW = 10.0
"""Seconds between this host's clock and Canvas's that indicate a missing NTP synchronization."""
SKEW = SLACK.total_seconds()
"""Seconds between the clocks from which `doctor` fails: times of Canvas that are further ahead are not used."""


SAMPLED_COURSES = 1_000
"""Courses that are looked at for `split_reports`: ten requests, where an account of 450,000 courses would take 4,500."""
SHOWN_COURSES = 5


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject on one client; if Canvas rejects the token, only that is reported."""
    try:
        with connect_canvas(checked.tenant, checked.location.extensions) as canvas:
            account = canvas.get("/accounts/{account_id}")
            yield ok(f"Canvas at {canvas.base_url} accepts the token; the account is {account.get('name')!r}")
            yield from run_checks(CHECKS, checked, canvas)
    except CanvasSyncError as error:
        yield failed(error)


def reports(checked: Checked, canvas: Canvas) -> Iterator[Finding]:
    """Canvas must offer the reports that feed the tenant's models."""
    offered = available_reports(canvas)
    kinds = [name for name in (PROPRIETARY, STOCK) if name in offered]
    if kinds:
        yield ok(f"provisioning report: {kinds[0]}")
    else:
        yield fail(
            "this Canvas offers no provisioning report to the token",
            "Give the token's user the permission to run reports of the account",
        )
    tenant = checked.tenant
    feeds = {
        m.name: m.feed.report for m in checked.location.models if isinstance(m.feed, ReportFeed) and m.rest is None
    }
    lacking = {model: report for model, report in feeds.items() if tenant.wants(model) and report not in offered}
    for model in [model for model in lacking if model in tenant.models]:
        yield fail(
            f"this Canvas has no report {lacking[model]}, which feeds {model}", f"Remove {model} from the models"
        )
    for each in checked.location.models:
        report = each.feed.report if isinstance(each.feed, ReportFeed) else None
        if report is not None and report not in offered and tenant.feeds.get(each.name) == "report":
            yield fail(
                f"this Canvas has no report {report}, which feeds requests for {each.name}",
                f"Set feeds: {{{each.name}: rest}}",
            )
    for asset, custom in checked.location.project.chain.reports.items():
        if custom.name not in offered:
            yield fail(
                f"this Canvas has no report {custom.name}, which {asset} processes",
                "Correct the name in `@sync.report`, have the report enabled in Canvas, or remove the function",
            )
    skipped = [model for model in lacking if model not in tenant.models]
    if skipped:
        yield note(
            f"skipped, because this Canvas lacks the report that feeds them: {', '.join(skipped)}",
            "To silence this note, list the models that you need, without these",
        )


def walks(checked: Checked, canvas: Canvas) -> Iterator[Finding]:
    """Which tables are read over REST, why, and at what cost."""
    location, tenant = checked.location, checked.tenant
    models, home = tuple(location.models_of(tenant)), location.settings.home
    session = Session(tenant, home, canvas, checked.url, models, shard=tenant.shard, extensions=location.extensions)
    requests = 0
    for each in model_feeds(session):
        if each.choice.feed == "rest":
            requests += each.cost.estimated_requests if each.cost else 0
            cost = f"a full walk takes {each.cost}" if each.cost else "the first sync of its parents shows its cost"
            yield ok(f"{each.model} is read over REST, because {each.choice.reason}; {cost}")
    if requests:
        yield ok(f"a full walk of all tables that are read over REST takes {WalkCost(requests)}")


def clock(checked: Checked, canvas: Canvas) -> Iterator[Finding]:
    """Canvas's clock must agree with this host's."""
    ahead = (canvas.ahead or timedelta()).total_seconds()
    skew = abs(ahead)
    message = f"the clocks of this host and of Canvas differ by {skew:,.0f} s"
    if skew >= NOTED_SKEW:
        message += f"; Canvas's is {'ahead' if ahead > 0 else 'behind'}"
    remedy = (
        "Synchronize this host's clock (NTP), or report the difference to Canvas's operator: the order of updates follows "
        "these clocks, and signatures of live events are valid within five minutes"
    )
    yield ok(message) if skew < NOTED_SKEW else note(message, remedy) if skew < SKEW else fail(message, remedy)


def split_reports(checked: Checked, canvas: Canvas) -> Iterator[Finding]:
    """The sub-accounts that split the reports must exist, and should have all courses."""
    split = checked.tenant.split_reports
    if not split:
        return
    top = int(canvas.get("/accounts/{account_id}")["id"])
    below = list(canvas.get_list("/accounts/{account_id}/sub_accounts", {"recursive": "true"}))
    parents = {int(each["id"]): int(each["parent_account_id"]) for each in below}
    direct = [account for account, parent in parents.items() if parent == top]
    accounts = direct if EVERY_SUB_ACCOUNT in split else [int(account) for account in split]
    if unknown := [account for account in accounts if account not in parents]:
        names = ", ".join(map(str, unknown))
        remedy = "Take it out of `split_reports`" if len(unknown) == 1 else "Take them out of `split_reports`"
        yield fail(f"split_reports: Canvas lists no sub-account {names} below account {top}", remedy)
        return
    if not accounts:
        yield fail(f"split_reports: account {top} has no sub-accounts", "Remove the setting `split_reports`")
        return
    covered = with_accounts_below(accounts, parents)
    courses = list(islice(canvas.get_list("/accounts/{account_id}/courses"), SAMPLED_COURSES))
    outside = [str(each["id"]) for each in courses if int(each["account_id"]) not in covered]
    if outside:
        shown = f"{', '.join(outside[:SHOWN_COURSES])}{', …' if len(outside) > SHOWN_COURSES else ''}"
        yield note(
            f"split_reports: of the first {len(courses):,} courses that Canvas lists, {len(outside):,} are in none of the "
            f"sub-accounts ({shown}); no report lists them",
            "Move them into a sub-account in Canvas, or add their accounts to `split_reports`; see "
            "docs/how-to/split-reports.md",
        )
    else:
        yield ok(f"split_reports: {len(accounts):,} reports per term; they cover the first {len(courses):,} courses")


CHECKS: tuple[Callable[[Checked, Canvas], Iterator[Finding]], ...] = (reports, split_reports, walks, clock)
"""Each gets the tenant and a client with a valid token. Add further checks here."""
