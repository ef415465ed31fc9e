# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of a play, if the run is of the whole platform.

Tags and --start-at-task skip tasks, --limit and an empty group skip plays, and the check that would have refused them
is skipped with the rest; such a run ends green with nothing done. What a play's `hosts` says is always evaluated.
"""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.platform3.recovery.plugins.module_utils import _inputs

DOCUMENTATION = r"""
name: whole_run
short_description: The hosts of a play, unless the run would leave something out
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Gives back the host pattern it is given, for use in the C(hosts) of a play.
  - Ends the run where C(--tags), C(--skip-tags) or C(--start-at-task) would skip tasks, where C(--limit) leaves out a
    host of the platform, and where a group of the platform is missing, empty or has two hosts.
options:
  _terms:
    description: One host pattern.
    type: list
    elements: str
    required: true
  scenario:
    description: What is to be done, for the message.
    type: str
    default: full
  groups:
    description: Groups that must have exactly one host.
    type: list
    elements: str
    default: [postgresql, redis, influxdb, app_services, backup_store]
"""

EXAMPLES = r"""
- name: Assess
  hosts: "{{ lookup('platform3.recovery.whole_run', 'backup_store') }}"
"""

RETURN = r"""
_raw:
  description: The same host pattern.
  type: list
  elements: str
"""

LISTINGS = ("listhosts", "listtasks", "listtags", "syntax")


class LookupModule(LookupBase):
    """Controller-side, without a host."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """terms, or AnsibleLookupError with all that is wrong. Listings are let through."""
        self.set_options(var_options=variables, direct=kwargs)
        options = context.CLIARGS
        if any(options.get(name) for name in LISTINGS):
            return terms
        known = variables or {}
        groups = known.get("groups") or {}
        needed = self.get_option("groups")
        problems = _inputs.group_problems(groups, needed)
        # While a play's hosts is still a template, Ansible holds all hosts that the limit leaves for its hosts.
        left = known.get("ansible_play_hosts_all") or []
        problems += _inputs.limit_problems(options.get("subset"), left, groups)
        problems += _inputs.skipping_problems(
            list(options.get("tags") or ()), list(options.get("skip_tags") or ()), options.get("start_at_task")
        )
        if problems:
            raise AnsibleLookupError(_inputs.message(problems, self.get_option("scenario")))
        return terms
