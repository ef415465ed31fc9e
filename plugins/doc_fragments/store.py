# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What is in it, and who is believed about that.
    DOCUMENTATION = r"""
options:
  store_path:
    description: Folder of the backup store.
    type: path
    required: true
  environment_id:
    description: Id of the environment.
    type: str
    required: true
  trusted_signers:
    description: Those whose signature is believed. From the inventory, never from the store.
    type: list
    elements: dict
    required: true
    suboptions:
      identity:
        description: Name of the signer.
        type: str
        required: true
      public_key:
        description: The signer's OpenSSH public key.
        type: str
        required: true
"""

    # What is known of its sets.
    STATE = r"""
options:
  state_path:
    description: State folder, with what is known of the sets (C(sets.jsonl)).
    type: path
    required: true
"""

    # One-shot containers on its pgBackRest repository.
    REPOSITORY = r"""
options:
  service:
    description: Compose service of PostgreSQL. Its bind mounts lead one-shot containers to the pgBackRest repository.
    type: str
    required: true
  image:
    description: Image of PostgreSQL, for the one-shot containers.
    type: str
    required: true
  stanza:
    description: pgBackRest's name for the cluster.
    type: str
    required: true
"""
