# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Figures that are computed from points, as an inventory names them (influxdb_aggregates).
    DOCUMENTATION = r"""
options:
  aggregates:
    description:
      - Buckets with figures over intervals, computed from the points of another. A restore to a point in time removes
        those of the interval that it lies in, since they may have been computed from points after it.
    type: list
    elements: dict
    default: []
    suboptions:
      bucket:
        description: Bucket of the figures, in O(organisation).
        type: str
        required: true
      source_bucket:
        description: Bucket that they are computed from.
        type: str
        required: true
      interval_seconds:
        description: Length of the interval. Intervals begin at multiples of it since 1970.
        type: int
        required: true
      stamped:
        description: Whether a figure bears the time of its interval's V(start) or V(end).
        type: str
        choices: [start, end]
        default: start
      measurement:
        description: Measurement of the figures; empty for all in the bucket but the project's own markers.
        type: str
        default: ""
      flux:
        description:
          - Flux script that computes and writes them again; V(%(from\)s) and V(%(to\)s) in it stand for the beginning
            of the first interval and the end of the last. Empty where they are computed elsewhere.
        type: str
        default: ""
"""
