# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules share: the fence and progress inputs, and the only place that turns an error into a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils._checks import ChecksFailed
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._fence import Fence

# The inputs of every module that changes data or takes long; documented in doc_fragments/step.py.
STEP_ARGUMENTS: dict[str, dict[str, Any]] = {
    "fence": {
        "type": "dict",
        "required": True,
        "options": {
            "recovery_id": {"type": "str", "required": True},
            "epoch": {"type": "int", "required": True},
        },
    },
    "progress_path": {"type": "path"},
}


def run_module(
    argument_spec: Mapping[str, Any],
    work: Callable[[AnsibleModule], dict[str, Any]],
    **options: Any,
) -> None:
    """Run work(module) and leave with its result; a RecoveryError becomes the module's failure.

    work returns the module's RETURN values (changed and diff among them); options go to AnsibleModule.
    """
    module = AnsibleModule(argument_spec=dict(argument_spec), **options)
    try:
        result = work(module)
    except RecoveryError as error:
        checks = {"checks": error.checks} if isinstance(error, ChecksFailed) else {}
        module.fail_json(msg=error.sentence(), error=error.as_dict(), **checks)
    module.exit_json(**result)


def fence_of(module: AnsibleModule) -> Fence:
    """The fence that the task showed."""
    shown = module.params["fence"]
    return Fence(recovery_id=shown["recovery_id"], epoch=shown["epoch"])
