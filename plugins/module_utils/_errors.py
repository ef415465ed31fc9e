# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one form of error an operator meets: what failed, what it means for the data, what to do next."""

from __future__ import annotations


class RecoveryError(Exception):
    """A failure with a stable number and a way on.

    code: `PRC-nnn`. 1xx inputs, 2xx backup sets, 3xx lock, journal and fence, 4xx engine, hosts and volumes,
    5xx PostgreSQL, 6xx Redis, 7xx InfluxDB, 8xx application services and validation, 9xx report.
    attempted: what was being done, on what, as a clause ("verify the signature of backup set 2026…").
    found: what was met instead of what was expected.
    data: what this means for the data ("nothing was changed", "the old data is in quarantine").
    next_step: what to mend, a command to copy where there is one. How the recovery then goes on or starts again is not
    said here: the card says it, which knows whether anything was touched.
    """

    def __init__(self, code: str, attempted: str, found: str, data: str, next_step: str) -> None:
        self.code = code
        self.attempted = attempted
        self.found = found
        self.data = data
        self.next_step = next_step
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The error as the operator reads it, a line a thought."""
        return (
            f"[{self.code}] Could not {self.attempted}: {self.found}.\n"
            f"  Data: {self.data}.\n"
            f"  Next: {self.next_step.rstrip(chr(46))}."
        )

    def as_dict(self) -> dict[str, str]:
        """The error as data for the journal and the report."""
        return {
            "code": self.code,
            "attempted": self.attempted,
            "found": self.found,
            "data": self.data,
            "next_step": self.next_step,
        }
