"""Learning outcomes of a university, which follow from its accounts."""

from __future__ import annotations


def outcomes(account: int) -> list[dict[str, object]]:
    """Two outcomes per account."""
    return [
        {
            "id": account * 10 + n,
            "context_id": account,
            "context_type": "Account",
            "title": f"Outcome {n}, “{account}”",
            "display_name": None,
            "description": "<p>writes clearly</p>",
            "vendor_guid": f"guid-{account}-{n}",
            "points_possible": 5.0,
            "mastery_points": 3.5,
            "calculation_method": "decaying_average",
            "calculation_int": 65,
        }
        for n in (0, 1)
    ]
