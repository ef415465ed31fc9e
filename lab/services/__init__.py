# SPDX-License-Identifier: GPL-3.0-or-later
"""The application of the lab's Platform3: one module a service, started as `python -m services.NAME`."""
