#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_backup
short_description: Write the platform's configuration into a backup set
version_added: 0.1.0
author: Platform3 (@platform3)
description:
  - Writes Compose files, further configuration files, the ids of all images and facts of the inventory.
  - No secret goes into a set in clear. Lines of an env file whose name is a secret's are left out and named; any other
    file that holds one of O(secrets), of the files of O(secret_paths) or a private key is an error.
  - The files of O(secret_paths), and the whole env file where lines were left out, are written as one file that is
    encrypted with age for O(age_recipients).
extends_documentation_fragment:
  - platform3.recovery.step
  - platform3.recovery.compose
attributes:
  check_mode:
    description: Looks at everything and writes nothing.
    support: full
options:
  set_path:
    description: Folder of the set that is being written.
    type: path
    required: true
  paths:
    description: Further files and folders of the configuration. Their names must differ.
    type: list
    elements: path
    default: []
  inventory:
    description: Facts of the inventory to keep.
    type: dict
    default: {}
  secrets:
    description: Secrets that must not be in any file.
    type: list
    elements: str
    default: []
  secret_paths:
    description: Files and folders with secrets on the host, to be kept encrypted.
    type: list
    elements: path
    default: []
  age_recipients:
    description:
      - Public keys of age or ssh-ed25519. Each alone can decrypt the secrets. With O(secret_paths) at least two are
        needed.
    type: list
    elements: str
    default: []
  digest_key:
    description:
      - A secret that only the writers of sets know, so that nobody else can try guesses at a short secret against the
        digest of the content. No digest is made without it.
    type: str
  previous:
    description:
      - What the manifest of the set before says of the configuration. Where nothing has changed since, nothing is
        written, and RV(content) is this.
    type: dict
"""

EXAMPLES = r"""
- name: backup | Write configuration and image digests
  platform3.recovery.configuration_backup:
    fence: "{{ recovery_fence }}"
    compose: "{{ recovery_compose }}"
    set_path: "{{ backup_set.path }}"
    paths: [/opt/platform3/config]
    inventory:
      environment: lab
    secrets: ["{{ postgresql_password }}"]
    secret_paths: [/opt/platform3/secrets]
    age_recipients: "{{ configuration_age_recipients }}"
    digest_key: "{{ configuration_digest_key }}"
  register: __configuration_backup
"""

RETURN = r"""
artefacts:
  description: Records of the files that were written, for the manifest.
  returned: success
  type: list
  elements: dict
content:
  description: What the manifest says of the configuration.
  returned: success
  type: dict
  contains:
    version:
      description: Version of the layout in the set.
      type: str
    recovery_point:
      description: When it was read.
      type: str
    images:
      description: Image of each service.
      type: dict
    left_out:
      description: Names of variables that were left out as secrets.
      type: list
      elements: str
    secrets:
      description: The encrypted file (C(path)), who can open it (C(recipients)), and C(names) of the files in it.
      type: dict
    digest:
      description: Keyed digest of everything, the secrets too; the same while nothing changes.
      type: str
unchanged:
  description: Whether all is as in O(previous), and nothing was written.
  returned: success
  type: bool
"""

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.platform3.recovery.plugins.module_utils import _age, _sealed
from ansible_collections.platform3.recovery.plugins.module_utils import _configuration as configuration
from ansible_collections.platform3.recovery.plugins.module_utils._backup_store import write_durable
from ansible_collections.platform3.recovery.plugins.module_utils._docker import COMPOSE_ARGUMENTS, compose_of
from ansible_collections.platform3.recovery.plugins.module_utils._images import images_here
from ansible_collections.platform3.recovery.plugins.module_utils._module import STEP_ARGUMENTS, run_module
from ansible_collections.platform3.recovery.plugins.module_utils._state import now_iso


def work(module: AnsibleModule) -> dict[str, Any]:
    """Read everything, refuse secrets in clear, compare with the set before, then write."""
    given = module.params
    layout = configuration.Layout(compose_of(given), tuple(given["paths"]))
    at = now_iso()
    secrets = _sealed.secrets_of(given["secret_paths"])
    recipients = _age.require_recipients(given["age_recipients"]) if secrets else []
    in_clear = [*given["secrets"], *_sealed.clear_texts(secrets)]
    files: dict[str, tuple[str, bytes, str]] = {}
    left_out: list[str] = []
    for source in layout.sources():
        content, names = configuration.content_of(source)
        configuration.require_no_secret(source.path, content, in_clear)
        files[source.target] = (source.kind, content, configuration.mode_of(source.path))
        left_out += names
        if names and secrets:
            secrets = _sealed.in_order([*secrets, *_sealed.secrets_of([source.path])])
    images, missing = images_here(layout.compose)
    if missing:
        raise configuration.unusable("images.json", f"the engine does not hold {', '.join(missing)}")
    files[configuration.IMAGES_PATH] = ("images", _json(images), "0644")
    inventory = _json(given["inventory"])
    configuration.require_no_secret("the inventory's facts", inventory, in_clear)
    files[configuration.INVENTORY_PATH] = ("inventory", inventory, "0644")
    digest = configuration.digest_of(given["digest_key"], files, secrets, recipients)
    previous = given["previous"] or {}
    if digest is not None and previous.get("digest") == digest:
        return {
            "changed": False,
            "unchanged": True,
            "artefacts": [],
            "content": previous,
            "bytes": 0,
            "recovery_point": at,
        }
    if secrets:
        # The bytes differ each time, also for the same secrets: age encrypts under a new key.
        files[_sealed.SEALED_PATH] = ("sealed", _age.seal(_sealed.pack(secrets), recipients), "0644")
    if not module.check_mode:
        for target, (_kind, content, _mode) in files.items():
            path = os.path.join(given["set_path"], target)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_durable(path, content)
    return {
        "changed": True,
        "unchanged": False,
        "artefacts": [_artefact(target, *one) for target, one in files.items()],
        "content": {
            "version": configuration.LAYOUT_VERSION,
            "recovery_point": at,
            "images": images,
            "left_out": left_out,
            "digest": digest,
            "secrets": {
                "path": _sealed.SEALED_PATH if secrets else None,
                "recipients": recipients,
                "names": [one.name for one in secrets],
            },
        },
        "bytes": sum(len(content) for _kind, content, _mode in files.values()),
        "recovery_point": at,
        "diff": {"before": "", "after": "".join(f"{target}\n" for target in sorted(files))},
    }


def _artefact(target: str, kind: str, content: bytes, mode: str) -> dict[str, Any]:
    return {
        "path": target,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "component": configuration.COMPONENT,
        "kind": kind,
        "source_version": configuration.LAYOUT_VERSION,
        "expected": {"mode": mode},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def main() -> None:
    """Entry point."""
    run_module(
        {
            **STEP_ARGUMENTS,
            **COMPOSE_ARGUMENTS,
            "set_path": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "path", "default": []},
            "inventory": {"type": "dict", "default": {}},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "secret_paths": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "age_recipients": {"type": "list", "elements": "str", "default": []},
            "digest_key": {"type": "str", "no_log": True},
            "previous": {"type": "dict"},
        },
        work,
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
