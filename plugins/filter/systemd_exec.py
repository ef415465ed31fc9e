# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command line as systemd reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._schedule import exec_line

DOCUMENTATION = r"""
name: systemd_exec
short_description: Quote a command line for ExecStart of a systemd unit
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Every argument reaches the program as it is, whatever quotes, percent signs, dollars or backslashes are in it.
options:
  _input:
    description: The command and its arguments.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show a line of a unit
  ansible.builtin.debug:
    msg: "ExecStart={{ ['/usr/bin/printf', '%s', 'a b'] | platform3.recovery.systemd_exec }}"
"""

RETURN = r"""
_value:
  description: The line.
  type: str
  sample: '/usr/bin/printf %%s "a b"'
"""


def systemd_exec(argv: Sequence[Any]) -> str:
    """The line, or AnsibleFilterError where it cannot be one."""
    try:
        return exec_line([str(one) for one in argv])
    except RecoveryError as error:
        raise AnsibleFilterError(error.sentence()) from None


class FilterModule:
    """Names of the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"systemd_exec": systemd_exec}
