# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  url:
    description: Address of the S3 store, as this host reaches it.
    type: str
    required: true
  bucket:
    description: Name of the bucket.
    type: str
    required: true
  region:
    description: Region of the bucket.
    type: str
    default: us-east-1
  image:
    description: Image with rclone and zstd, for a container that is gone afterwards.
    type: str
    required: true
  access_key:
    description: Id of the key to the bucket.
    type: str
    required: true
  secret_key:
    description: The key to the bucket.
    type: str
    required: true
  password:
    description: What the copy is encrypted with.
    type: str
    required: true
  salt:
    description: The second part of what it is encrypted with.
    type: str
    required: true
"""
